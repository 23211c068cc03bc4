"""What results/ says, told by as many processes as there are processors where Records are many.

A process reads whole labels and keeps their Records to itself. It gives an outline of its parts,
is given what all parts share, and gives back what is to be written of its own.
"""

import gc
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path

import results
from report import studies
from report.build import Section, sections
from report.claims import Finding, findings
from report.parts import MANY, Part, Whole, of_sweep, outline, parts, whole
from results import Record

MOST = 8  # processes


class NoSuchLabel(ValueError):
    """It has no folder; the message names those that have one."""


def load(labels: Sequence[str] | None, root: Path) -> results.Loaded:
    """Raises NoSuchLabel."""
    try:
        return results.load(labels, root)
    except ValueError as error:
        raise NoSuchLabel(f"{error}") from error


@dataclass(frozen=True, kw_only=True)
class Told:
    parts: list[Section]
    found: list[Finding]
    others: list[Record]  # of pairs of peers and of studies
    records: int
    unreadable: list[str]


def tell(labels: Sequence[str] | None, root: Path, out: Path) -> Told:
    """All there is to write; what other processes drew lies in `out` already.

    Raises NoSuchLabel, OSError if `out` cannot be written.
    """
    if shares := _shares(labels, root):
        return _together(shares, root, out)
    loaded, own, others = _read(labels, root)
    told, found = _told(own, whole(map(outline, own)), others)
    return Told(
        parts=told,
        found=found,
        others=others,
        records=len(loaded.records),
        unreadable=loaded.unreadable,
    )


def _read(
    labels: Sequence[str] | None, root: Path
) -> tuple[results.Loaded, list[Part], list[Record]]:
    loaded = load(labels, root)
    others = [record for record in loaded.records if not of_sweep(record)]
    return loaded, parts(loaded.records), others


def _told(
    own: Sequence[Part], shared: Whole, others: Iterable[Record]
) -> tuple[list[Section], list[Finding]]:
    told = list(sections(own, shared))
    evidence = [*(one.evidence for one in told), *studies.readings(others)]
    return told, findings(evidence)


def _shares(labels: Sequence[str] | None, root: Path) -> list[list[str]]:
    """The labels for each of several processes, alike in files; none where one is as quick."""
    files = {
        entry.name: sum(name.endswith(".json") for name in os.listdir(entry))
        for entry in os.scandir(root)
        if entry.is_dir()
    }
    wanted = [label for label in dict.fromkeys(labels or sorted(files)) if files.get(label)]
    if sum(files[label] for label in wanted) <= MANY:
        return []
    shares: list[list[str]] = [[] for _ in range(min(os.cpu_count() or 1, MOST, len(wanted)))]
    for label in sorted(wanted, key=files.__getitem__, reverse=True):
        min(shares, key=lambda share: sum(files[one] for one in share)).append(label)
    return shares


def _together(shares: Sequence[Sequence[str]], root: Path, out: Path) -> Told:
    pipes: list[Connection] = []
    for share in shares:
        ours, theirs = Pipe()
        Process(target=_help, args=(share, root, out, theirs), daemon=True).start()
        theirs.close()  # held by the process alone, so that recv raises EOFError if that ends
        pipes.append(ours)
    outlines, others, counts, unreadable = zip(*(pipe.recv() for pipe in pipes), strict=True)
    shared = whole(one for each in outlines for one in each)
    for pipe in pipes:
        pipe.send(shared)
    told: list[Section] = []
    found: list[Finding] = []
    for pipe in pipes:
        given = pipe.recv()
        if isinstance(given, OSError):
            raise given
        told += given[0]
        found += given[1]
    labels = [label for label, _ in shared.order]
    labels += sorted(record.label for each in others for record in each)
    place = {label: i for i, label in reversed(list(enumerate(labels)))}
    return Told(
        parts=sorted(told, key=lambda part: part.key),
        found=sorted(found, key=lambda one: place[one.label]),
        others=[record for each in others for record in each],
        records=sum(counts),
        unreadable=[sentence for each in unreadable for sentence in each],
    )


def _help(labels: Sequence[str], root: Path, out: Path, pipe: Connection) -> None:
    gc.disable()  # soon over; among so many Records and rows its searches take a tenth of the time
    loaded, own, others = _read(labels, root)
    pipe.send((list(map(outline, own)), others, len(loaded.records), loaded.unreadable))
    told, found = _told(own, pipe.recv(), others)
    try:
        out.mkdir(parents=True, exist_ok=True)
        pipe.send(([_section(part, out) for part in told], list(map(_finding, found))))
    except OSError as error:
        pipe.send(error)


def _finding(one: Finding) -> Finding:
    """Without Records, which are many."""
    return replace(one, judgement=replace(one.judgement, records=[]))


def _section(part: Section, out: Path) -> Section:
    """Without Records, and drawn."""
    evidence = replace(part.evidence, records=[], chosen=[], rows=part.evidence.rows.iloc[:0])
    drawn = [[one.drawn(out) for one in some] for some in (part.drawings, part.alone)]
    return replace(part, evidence=evidence, drawings=drawn[0], alone=drawn[1])
