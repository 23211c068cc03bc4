"""`python -m benchmarks list | check | doctor | submit | tune | peers | pack | gpu-list`: what
would run, which laws an architecture breaks, what works here, the same cells on a cluster, which
learning rates suit, who is faster, the way to a GPU without internet and what to measure there."""

import argparse
import json
import sys
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

import archs
import results
from archs._ops import every_op
from archs._sizes import NAMED
from benchmarks import (
    catalogue,
    conformance,
    corpus,
    gpu_list,
    machine,
    outside,
    packing,
    sensors,
    sweep,
    tuning,
)
from benchmarks.cluster import command as cluster
from benchmarks.corpus import Corpus
from benchmarks.machine import Environment
from benchmarks.peers import _command as peers
from benchmarks.ranks import launch
from results import Case
from results.names import folder, parsed
from results.schema import record_path
from results.text import visible

STATE_LENGTHS = (1024, 8192, 65_536)
FLOPS_LENGTH = 1024


def plan(options: argparse.Namespace) -> None:
    """Every case in the order it would run, those already measured marked; with --jobs, a file for
    each that is not, from which torchrun measures it.

    Raises ValueError if these cannot be written.
    """
    sweep.check(options)
    device = machine.pick_device(options.device)
    text = corpus.load(options.corpus)
    env = machine.environment(device, options.label)
    cases = sweep.cases(options, device, text.name, elsewhere=options.jobs is not None)
    have = [record_path(case, env.label, options.results).exists() for case in cases]
    for case, measured in zip(cases, have, strict=True):
        print(f"{'had ' if measured else 'todo'} {case}")
        if options.jobs is not None and not measured:
            _write_job(case, env, text, options)
    print(f"{len(cases)} cases for {options.results / env.label}: {sum(have)} measured already")
    for name, point in outside.installed().items():
        print(f"installed, for --arch {visible(name)}: {visible(point.value)}")


def _write_job(case: Case, env: Environment, text: Corpus, options: argparse.Namespace) -> None:
    if case.ranks == 1:
        raise ValueError("--jobs is for cells of several processes; add --ranks and --shard")
    if case.arch in archs.added():
        raise ValueError(f"--jobs: torchrun's processes know no {case.arch}; put it into archs/")
    sources = text.sources if case.corpus else ()
    job = launch.job(case, env, sources, options.results, options.timeout)
    try:
        options.jobs.mkdir(parents=True, exist_ok=True)
        (options.jobs / f"{case}.json").write_text(json.dumps(job, indent=1))
    except OSError as error:
        raise ValueError(f"--jobs: {options.jobs} cannot be written: {error.strerror}") from None


def sizes(options: argparse.Namespace) -> None:
    """Parameters, compute and state of every architecture at every size."""
    sweep.check(options)
    dtype, chosen = getattr(torch, options.dtype or "float32"), options.arch or archs.names()
    every = dict.fromkeys(size for arch in options.arch or () for size in archs.load(arch).SIZES)
    for size in options.size or every or NAMED:
        having = [arch for arch in chosen if size in archs.load(arch).SIZES]
        d_model = archs.load(having[0]).SIZES[size].d_model
        table = Table(title=Text(f"{size}: d_model {d_model}"), title_justify="left")
        table.add_column("architecture")
        for heading in ("layers", "parameters", "non-embedding", "off GPT-2's", "FLOPs/token"):
            table.add_column(heading, justify="right", overflow="fold")
        for length in STATE_LENGTHS:
            table.add_column(f"state at {length:,}", justify="right", overflow="fold")
        for arch in having:
            table.add_row(*map(Text, _row(arch, size, dtype)))
        Console(width=None if sys.stdout.isatty() else 160).print(table)
    print(
        f"parameters include the tied embedding; FLOPs are forward, mean over {FLOPS_LENGTH:,} "
        f"tokens; state is bytes a sequence in {options.dtype or 'float32'}"
    )


def doctor(options: argparse.Namespace) -> None:
    """Every op's kernels: whether each works here, and if not, why."""
    device = machine.pick_device(options.device)
    about = machine.fingerprint(device)
    print(f"torch {torch.__version__} on {device}: {about.get('gpu') or about['cpu']}")
    table = Table("op", "kernel", "works here")
    for op in every_op().values():
        for kernel in op.kernels.values():
            reason = kernel.why_not(torch.device(device))
            works = "yes" if reason is None else visible(f"no: {reason}")
            table.add_row(op.name, kernel.name, Text(works))
        table.add_section()
    Console().print(table)
    if device == "cuda":
        withheld = sensors.withheld()
        readable = Table("sensor", "can be read here")
        for quantity in sensors.QUANTITIES:
            reason = withheld.get(quantity)
            works = "yes" if reason is None else visible(f"no: {reason}")
            readable.add_row(quantity, Text(works))
        Console().print(readable)
    print(
        "of those that work, `auto` takes the first that suits the call; `plain` is the reference"
    )


def _row(arch: str, size: str, dtype: torch.dtype) -> list[str]:
    with torch.device("meta"):
        model = archs.build(arch, size, max_len=max(STATE_LENGTHS)).to(dtype)
        causal = archs.is_causal(arch)
        states = [_state(model, length) if causal else "–" for length in STATE_LENGTHS]
    embeddings = model.embed.weight.numel()
    total = sum(p.numel() for p in model.parameters()) - (model.embedding_params() - embeddings)
    flops = model.forward_flops(FLOPS_LENGTH)
    return [
        arch,
        f"{model.config.n_layer}",
        f"{total:,}",
        f"{total - embeddings:,}",
        f"{(total - embeddings) / NAMED[size].budget - 1:+.2%}" if size in NAMED else "–",
        "unknown" if flops is None else f"{flops:,}",
        *states,
    ]


def _state(model: archs.LanguageModel, length: int) -> str:
    """Bytes; a checkpoint's cache has none before it was read into."""
    held = machine.tensor_bytes(model.init_state(1, length))
    return f"{held:,}" if held else "unknown"


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="what would run")
    listing.add_argument("--sizes", action="store_true", help="what each size preset is instead")
    listing.add_argument("--results", type=folder, default=results.ROOT, help="folder of labels")
    listing.add_argument("--jobs", type=folder, help="with --ranks: a folder for torchrun's jobs")
    listing.add_argument("--timeout", type=float, default=600.0, help="jobs: seconds of each")
    for flag, keywords in sweep.OPTIONS:
        listing.add_argument(flag, **keywords)
    listing.set_defaults(run=lambda options: (sizes if options.sizes else plan)(options))
    catalogue.add_options(commands.add_parser("catalogue", help="equations and costs of all"))
    conformance.add_options(commands.add_parser("check", help="which laws one breaks, and where"))
    looking = commands.add_parser("doctor", help="which kernels work here, and why not")
    looking.add_argument("--device", choices=("cpu", "cuda"))
    looking.set_defaults(run=doctor)
    cluster.add_options(commands.add_parser("submit", help="the same cells on Ray or Slurm"))
    peers.add_options(commands.add_parser("peers", help="time our code beside other people's"))
    tuning.add_options(commands.add_parser("tune", help="find each one's learning rate"))
    packing.add_options(commands.add_parser("pack", help="a checkout for a machine offline"))
    gpu_list.add_options(commands.add_parser("gpu-list", help="measure on a GPU, best first"))
    return parser


def main(arguments: list[str] | None = None) -> int:
    options: Any = parsed(parser(), arguments)
    try:
        code: int | None = options.run(options)
    except ValueError as error:
        print(f"error: {visible(str(error))}", file=sys.stderr)
        return 2
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
