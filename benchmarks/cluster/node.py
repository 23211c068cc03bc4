"""What seats of one node share, its cores; and those of one label, a kind of hardware."""

import os
import platform
import tempfile
import uuid
from pathlib import Path

import results
from benchmarks import machine
from benchmarks.claim import lock

HARDWARE = ".hardware"  # in a label's folder: the kind of machine that all its Records are of


def own_cores(count: int) -> dict[int, int]:
    """Cores of this node that no other seat has, as many as asked for or, of fewer, all there are;
    each with the descriptor that holds it. Raises ValueError if every one is taken."""
    folder = Path(tempfile.gettempdir()) / f"seqfrontier-cores-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    own: dict[int, int] = {}
    for core in sorted(os.sched_getaffinity(0)):
        if len(own) == count:
            break
        try:
            own[core] = lock(folder / str(core))
        except BlockingIOError:
            continue
    if not own:
        raise ValueError(f"every core of {platform.node()} is taken by cells of another submit")
    return own


def hold_to_one_kind(folder: Path, kind: str) -> None:
    """From now on the folder is of this kind of hardware.

    Raises ValueError if it is of another, by what was said before or by its Records.
    """
    said = folder / HARDWARE
    if not said.exists():
        for record in _records(folder):
            if "device" in (about := record.machine):
                _agree(folder, machine.default_label(about["device"], about), kind)
        mine = folder / f".{uuid.uuid4()}.tmp"
        mine.write_text(kind)
        try:
            os.link(mine, said)  # whole, and of several at once only the first
        except FileExistsError:
            pass
        finally:
            mine.unlink()
    _agree(folder, said.read_text(), kind)


def _records(folder: Path) -> list[results.Record]:
    if not any(folder.glob("*.json")):
        return []
    return results.load([folder.name], folder.parent).records


def _agree(folder: Path, had: str, kind: str) -> None:
    if had != kind:
        raise ValueError(
            f"{folder} has cells of {had}, and {platform.node()} is {kind}; "
            "give each kind of machine a --label of its own, or none"
        )
