"""`python -m report.scale`: seconds and memory to load and to report 100,000 Records.

The Records are of machines that do not exist: labels, each with architectures, lengths, batches,
formats, modes, learning rates and seeds, and real Records' number of samples. They are written once
into a temporary folder; each measurement is a process of its own.
"""

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import islice, product
from pathlib import Path

import numpy as np
import pandas as pd
from msgspec import to_builtins
from msgspec.structs import replace

from report.summary import markdown
from report.units import show
from results import Case, Evaluation, Record
from results.schema import record_path

FAMILIES = (
    {"attention": "sdpa"},
    {"selective_scan": "blocked", "short_conv": "conv1d"},
    {"linear_scan": "folded"},
    {"elman": "stored"},
    {"attention": "sdpa", "ssd": "chunked"},
)
ARCHS = 9
LENGTHS = tuple(2**k for k in range(6, 14))
BATCHES = (1, 4, 16, 64)
DTYPES, MODES = ("float32", "bfloat16"), ("eager", "compile")
RATES, SEEDS = tuple(0.001 * 2**k for k in range(6)), range(5)
PHASES = ("train", "prefill", "decode")
STEPS = 50  # timed, of a Record
LOSSES = 200  # of a training, kept step by step
# the sweep of one label: 9 · (8 · 4 · 2 · 2 · 3 + 6 · 5) = 3,726 Records
COMMANDS = {
    "load": "import pathlib, sys, results; results.load(root=pathlib.Path(sys.argv[1]))",
    "load and build": "import sys; from report.__main__ import main; "
    "sys.exit(main(['build', '--results', sys.argv[1], '--out', sys.argv[2]]))",
}


def _case_of(phase: str, arch: int, **given: object) -> Case:
    return Case(phase=phase, arch=f"arch{arch}", size="1m", **given)  # type: ignore[arg-type]


def _record(case: Case, label: str, **given: object) -> Record:
    return Record(
        case=case,
        label=label,
        status="ok",
        measured_at="2026-01-01T00:00:00+00:00",
        commit="0" * 40,
        versions={"python": "3.11", "torch": "2.13.0"},
        machine={"device": "cpu", "cpu": "Imaginary 3000", "cores": 2, "cache_bytes": 2**25},
        params=1_050_000,
        embedding_params=50_000,
        kernels=FAMILIES[int(case.arch[4:]) % len(FAMILIES)],
        **given,  # type: ignore[arg-type]
    )


def _timed(label: str, random: np.random.Generator) -> Iterator[Record]:
    settings = product(PHASES, range(ARCHS), LENGTHS, BATCHES, DTYPES, MODES)
    for phase, arch, length, batch, dtype, mode in settings:
        case = _case_of(phase, arch, seq_len=length, batch=batch, dtype=dtype, mode=mode)
        step_s = 1e-3 * batch * length ** (0.5 + arch / ARCHS)
        yield _record(
            case,
            label,
            step_s=tuple((step_s * np.exp(random.normal(0, 0.05, STEPS))).tolist()),
            sentinel_s=tuple((0.005 * np.exp(random.normal(0, 0.02, 10))).tolist()),
            peak_bytes=2**20 * batch * length,
            state_bytes=batch * 1024 * (length if arch % 5 == 0 else 16),
            forward_flops=2_000_000,
            moved_bytes=4_000_000,
            ceilings={"matmul-float32": {"work": 1e9, "samples_s": [0.0001] * 5}},
        )


def _trained(label: str, random: np.random.Generator) -> Iterator[Record]:
    for arch, lr, seed in product(range(ARCHS), RATES, SEEDS):
        nats = 1.2 + 0.05 * arch + 0.1 * math.log(lr / 0.004) ** 2 + float(random.normal(0, 0.01))
        case = _case_of(
            "quality", arch, seq_len=256, batch=4, seed=seed, tokens=10**6, lr=lr, corpus="text"
        )
        valid = Evaluation(
            split="valid",
            context=256,
            position_edges=(1, 2, 4, 8, 16, 32, 64, 128),
            nats=(nats * 1000,) * 8,
            tokens=(1000,) * 8,
            target_bytes=8000,
        )
        held_out = (
            valid,
            replace(valid, split="test"),
            replace(valid, split="test", context=1024),
        )
        losses = tuple((5 * np.exp(-np.arange(LOSSES) / 50) + nats).tolist())
        yield _record(case, label, evaluations=held_out, train_nats=losses)


def records() -> Iterator[Record]:
    """Without end, label after label."""
    random, label = np.random.default_rng(0), 0
    while True:
        yield from _trained(f"machine-{label:03d}", random)
        yield from _timed(f"machine-{label:03d}", random)
        label += 1


def write(count: int, root: Path) -> None:
    """As Record.save does, but without waiting for the disk each time."""
    for record in islice(records(), count):
        path = record_path(record.case, record.label, root)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(to_builtins(record), indent=1) + "\n")


def measure(code: str, *arguments: str) -> dict[str, str]:
    """Wall and CPU seconds, of all its processes, and the memory of the largest.

    Raises CalledProcessError where it fails.
    """
    start_s, before = time.monotonic(), os.times()
    child = subprocess.Popen([sys.executable, "-c", code, *arguments], stdout=subprocess.DEVNULL)
    if status := child.wait():
        raise subprocess.CalledProcessError(status, child.args)
    after = os.times()
    return {
        "wall": show(time.monotonic() - start_s, "s"),
        "CPU": show(sum(after[2:4]) - sum(before[2:4]), "s"),
        # of the largest child so far: the commands grow
        "memory": show(1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, "bytes"),
    }


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--records", type=int, default=100_000)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "results")
        root.mkdir()
        write(given.records, root)
        rows = [
            {"what": what, "Records": f"{given.records:,}"}
            | measure(code, str(root), str(Path(folder, "out")))
            for what, code in COMMANDS.items()
        ]
    print(markdown(pd.DataFrame(rows)), end="")


if __name__ == "__main__":
    main()
