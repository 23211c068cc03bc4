"""`python -m benchmarks check ARCH`: which laws an architecture breaks, and where.

Ours are held to them by the tests. One from outside is, before it is timed: once for its source,
this torch and these laws, which a file beside the results remembers.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

import torch

from benchmarks import laws, outside
from benchmarks.laws import Broken, Law
from results.loading import contents

KEPT = ".laws.json"


def broken(arch: str) -> Iterator[tuple[Law, str | None]]:
    """Each law, and why it does not hold; None where it does."""
    subject = laws.subject(arch)
    for law in laws.of(subject):
        try:
            law(subject)
        except Broken as found:
            yield law, str(found)
        except outside.WRONG as error:  # raised by its code, or at what that returned
            yield law, outside.told(error)
        else:
            yield law, None


def words(law: Law) -> str:
    return law.__name__.replace("_", " ")


def hold(names: Sequence[str], root: Path) -> None:
    """Raises ValueError, with the laws and where, if one of `names` breaks any."""
    kept = _kept(root)
    for arch in names:
        if _entry(arch) in kept:
            continue
        found = [f"{words(law)}: {why}" for law, why in broken(arch) if why is not None]
        if found:
            raise ValueError(
                f"{arch} is not timed, as it breaks a law: {'; '.join(found)} "
                "(`python -m benchmarks check` says more)"
            )
        kept.append(_entry(arch))
        # the sweep says by itself that nothing can be kept here
        with suppress(OSError):
            root.mkdir(parents=True, exist_ok=True)
            (root / KEPT).write_text(json.dumps(kept, indent=1) + "\n")


def _entry(arch: str) -> str:
    """What was checked: the source, in the name; the laws; the torch they were asked on."""
    digest = hashlib.sha256(Path(laws.__file__).read_bytes()).hexdigest()[:8]
    return f"{arch} laws.{digest} torch-{torch.__version__}"


def _kept(root: Path) -> list[str]:
    """What held before; nothing where that cannot be read, which costs a few seconds."""
    with suppress(OSError, ValueError, RecursionError):
        kept: list[str] = json.loads(contents(root / KEPT))
        if isinstance(kept, list):
            return kept
    return []


def run(options: argparse.Namespace) -> int:
    """0: all laws hold; 1: one is broken. Raises ValueError on what is no architecture."""
    failed = 0
    for arch in chain.from_iterable(options.arch):
        subject = laws.subject(arch)
        print(f"{arch} at {subject.size}")
        for law, why in broken(arch):
            print(f"  holds   {words(law)}" if why is None else f"  BROKEN  {words(law)}: {why}")
            failed += why is not None
    print(f"broken laws: {failed}" if failed else "all laws hold")
    return 1 if failed else 0


def add_options(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "arch",
        nargs="+",
        type=outside.option,
        metavar="ARCH",
        help="a name, a file, an installed package's name, or hf:CHECKPOINT",
    )
    command.set_defaults(run=run)
