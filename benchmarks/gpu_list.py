"""`python -m benchmarks gpu-list OUT.tar.gz`: what is worth measuring on a GPU, best first.

For a machine that is at hand for minutes at a time. Every call starts where the last one ended,
since finished cells are skipped, ends before its limit, and leaves its Records in one archive.
"""

import argparse
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import results
from benchmarks import machine, sweep
from results.names import folder

ROOT = Path(__file__).parents[1]
# a cell is not started this near the limit: a long one takes about as much
CELL_S = 45.0
# and what then still runs is ended this long before it, to pack the archive
PACKING_S = 15.0
ENDED = -signal.SIGTERM  # how a process that was ended returns

Command = tuple[str, ...]  # arguments of `python -m`
Runner = Callable[[Command, float], int]  # a command, seconds it may take → its exit status


@dataclass(frozen=True)
class Item:
    """`suffixes`: where its Records go, beside the label."""

    name: str
    why: str
    commands: tuple[Command, ...]
    suffixes: tuple[str, ...] = ("",)


def _sweep(*words: str) -> Command:
    return ("pytest", "benchmarks", "-p", "no:cacheprovider", "--dtype", "bfloat16", *words)


def _lengths(first: int, last: int) -> str:
    """Powers of two."""
    return ",".join(str(2**i) for i in range(first.bit_length() - 1, last.bit_length()))


LARGE = ("--size", "124m")
MEDIUM = ("--size", "25m", "--phase", "quality")
ITEMS = (
    Item(
        "truth",
        "every kernel held to the plain one, every architecture to its laws",
        (("pytest", "tests", "-m", "gpu", "-q", "-p", "no:cacheprovider"),),
    ),
    Item(
        "efficiency",
        "cost over length at 124m: a frontier's worth first, then every length",
        (
            _sweep(*LARGE, "--phase", "train,prefill,decode", "--seq-len", "2048"),
            _sweep(*LARGE, "--phase", "train", "--seq-len", _lengths(512, 65_536)),
            _sweep(*LARGE, "--phase", "prefill", "--seq-len", _lengths(512, 131_072)),
            _sweep(*LARGE, "--phase", "decode", "--seq-len", _lengths(512, 131_072)),
            _sweep(
                *(*LARGE, "--phase", "decode", "--batch", "64"),
                *("--seq-len", _lengths(512, 131_072)),
            ),
        ),
    ),
    Item(
        "repeat",
        "the same cells in three processes, one after another: how far their medians lie apart",
        (_sweep(*LARGE, "--phase", "train,decode", "--seq-len", "2048"),),
        suffixes=("-repeat-1", "-repeat-2", "-repeat-3"),
    ),
    Item(
        "quality",
        "perplexity at 25m: learning rates at the shortest length, then three seeds at each",
        (
            _sweep(*MEDIUM, "--seq-len", "512", "--lr", "0.0005,0.001,0.002,0.004"),
            _sweep(*MEDIUM, "--seq-len", "512,2048,8192", "--seed", "0,1,2"),
        ),
    ),
    Item(
        "recall",
        "what each architecture remembers of made-up sequences, and which states it can follow",
        (_sweep("--phase", "recall,state"),),
    ),
    Item(
        "limits",
        "the largest batch and the greatest length that fit",
        (_sweep(*LARGE, "--phase", "limits"),),
    ),
)


def add_options(command: argparse.ArgumentParser) -> None:
    shared = dict(sweep.OPTIONS)
    words = shared["--phase"]["type"]
    names = [item.name for item in ITEMS]
    command.add_argument("out", type=folder, metavar="OUT.tar.gz")
    command.add_argument(
        "--items", type=words, default=names, help=f"of {', '.join(names)} (default: all)"
    )
    command.add_argument("--limit-s", type=float, default=540.0, help="ends before (default: 540)")
    command.add_argument("--results", type=folder, default=results.ROOT, help="folder of labels")
    command.add_argument("--label", **shared["--label"])
    command.set_defaults(run=run)


def run(options: argparse.Namespace, runner: Runner | None = None) -> int:
    """0: all ran, and well; 1: something is left, or failed.

    Raises ValueError on an unknown item, and where there is no GPU.
    """
    end_s = time.monotonic() + options.limit_s
    for name in options.items:
        if name not in [item.name for item in ITEMS]:
            raise ValueError(f"--items: there is no {name!r}; see --help")
    label = options.label or machine.environment(machine.pick_device("cuda"), None).label
    told: list[str] = []
    # asked to end, this process still packs what there is
    usual = signal.signal(signal.SIGTERM, _exit)
    try:
        well = work(options, label, end_s, runner or run_for, told)
    finally:
        signal.signal(signal.SIGTERM, usual)
        archive(options.out, options.results, label)
        print("\n".join([*told, f"{options.out}: {options.out.stat().st_size / 2**20:.1f} MiB"]))
    return 0 if well else 1


def work(
    options: argparse.Namespace, label: str, end_s: float, runner: Runner, told: list[str]
) -> bool:
    """Run the items in order while there is time, telling what came of each command."""
    well = True
    for item in ITEMS:
        if item.name not in options.items:
            continue
        for command in (c for suffix in item.suffixes for c in _full(item, suffix, label, options)):
            left_s = end_s - time.monotonic() - PACKING_S
            if left_s <= CELL_S:
                told.append(f"{item.name}: no time left; call again")
                return False
            if "benchmarks" in command:
                command = (*command, "--stop-after", f"{left_s - CELL_S:.0f}")
            code = runner(command, left_s)
            well = well and code == 0
            told.append(f"{item.name}: {_outcome(code)}: python -m {' '.join(command)}")
    return well


def _full(item: Item, suffix: str, label: str, options: argparse.Namespace) -> list[Command]:
    """The item's commands, sweeps with where their Records go."""
    place = ("--device", "cuda", "--label", label + suffix, "--results", str(options.results))
    return [(*command, *place) if "benchmarks" in command else command for command in item.commands]


def _outcome(code: int) -> str:
    # pytest's 2 is "interrupted", as --stop-after does
    return {0: "done", 2: "out of time", ENDED: "ended at the limit"}.get(code, f"failed ({code})")


def run_for(command: Sequence[str], limit_s: float) -> int:
    """Its exit status. A process over its limit is asked to end: its Records are whole files."""
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT)
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        return ENDED
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(PACKING_S / 3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def archive(out: Path, root: Path, label: str) -> None:
    """The label's folders, and those of its repetitions, as they lie under results/."""
    with tarfile.open(out, "w:gz") as tar:
        for folder in sorted(root.glob(f"{label}*")):
            for path in sorted(folder.glob("*.json")):
                tar.add(path, path.relative_to(root))


def _exit(number: int, frame: Any) -> None:
    sys.exit(128 + number)
