"""From files under results/ to Records; a file that holds none costs only itself."""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from results.bounds import Misfit
from results.parsing import Newer, parse
from results.schema import ROOT, Record
from results.text import visible

LARGEST_BYTES = 2**26  # a hundred times the longest training's


class UnreadableRecord(ValueError):
    """A file under results/ that is not a Record this version can read; the message names it."""


def contents(path: Path | str, most_bytes: int = LARGEST_BYTES) -> bytes:
    """All of an ordinary file: a pipe would be waited for, and a device has no end.

    Raises OSError if it cannot be read, ValueError if it is none or larger.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb", buffering=0) as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("no ordinary file")
        if status.st_size > most_bytes:
            raise ValueError(f"more than {most_bytes:,} bytes")
        return file.readall()


def read(path: Path | str) -> Record:
    """The Record in `path`. Raises UnreadableRecord, naming the file, if it does not hold one."""
    try:
        return parse(contents(path))
    except Newer as error:
        raise UnreadableRecord(f"{visible(str(path))} has {error}; update seqfrontier") from error
    except (Misfit, ValueError, OSError) as error:
        where = visible(str(path))
        why = error.strerror if isinstance(error, OSError) else visible(str(error))
        raise UnreadableRecord(
            f"{where} is not a readable Record ({why}); delete it and measure that case again"
        ) from error


@dataclass(frozen=True)
class Loaded:
    """Every readable Record, and one sentence for each file that is not."""

    records: list[Record]
    unreadable: list[str]


def labels_in(root: Path = ROOT) -> list[str]:
    """Those that have a file of a Record."""
    return sorted(p.name for p in root.iterdir() if p.is_dir() and any(p.glob("*.json")))


def load(labels: Iterable[str] | None = None, root: Path = ROOT) -> Loaded:
    """All Records of `labels` (default: every label under `root`).

    Raises ValueError on a label without a folder; an unreadable file costs only itself.
    """
    have = labels_in(root)
    wanted = have if labels is None else list(dict.fromkeys(labels))
    for label in wanted:
        if label not in have:
            known = visible(", ".join(have)) or "none"
            raise ValueError(f"no results labelled {label!r} in {root}; it holds {known}")
    loaded = Loaded([], [])
    for label in wanted:
        with os.scandir(root / label) as entries:
            paths = sorted(entry.path for entry in entries if entry.name.endswith(".json"))
        for path in paths:
            try:
                loaded.records.append(read(path))
            except UnreadableRecord as error:
                loaded.unreadable.append(str(error))
    return loaded
