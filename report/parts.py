"""The parts of a report, one for each machine and size, and what they share.

A part is read from its own Records alone, but for what `Whole` holds: so many parts can be read by
several processes that know no more than an outline of each other's.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from report import peers
from report.attainment import attained, reference
from report.choice import best_learning_rates
from report.claims.evidence import Evidence
from report.compare import Comparison, comparisons
from report.files import stem
from report.plots.style import Style, styles
from report.statistics import Floats
from report.studies import is_study
from report.table import tidy
from results import Record

MANY = 20_000  # Records, beyond which figures and details would take longer than all else
DETAILED = 2  # parts that then have them
EXPLORED = 40_000  # rows of the plots to explore, beyond which parts are left out of them

Key = tuple[str, str]  # label and size


@dataclass(frozen=True, kw_only=True)
class Part:
    key: Key
    records: list[Record]
    rows: pd.DataFrame
    found: list[Comparison]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """What the other parts have to know of one."""

    key: Key
    archs: set[str]
    records: int
    rows: int
    found: list[Comparison]


def of_sweep(record: Record) -> bool:
    """Whether it belongs to a part: to no pair of peers and no study."""
    return not peers.is_peers(record) and not is_study(record)


def parts(records: Iterable[Record]) -> list[Part]:
    grouped: dict[Key, list[Record]] = {}
    for record in filter(of_sweep, records):
        grouped.setdefault((record.label, record.case.size), []).append(record)
    tables = {key: tidy(grouped[key]) for key in sorted(grouped)}
    return [
        Part(key=key, records=grouped[key], rows=rows, found=comparisons(rows))
        for key, rows in tables.items()
    ]


def outline(part: Part) -> Outline:
    return Outline(
        key=part.key,
        archs={record.case.arch for record in part.records},
        records=len(part.records),
        rows=len(part.rows),
        found=part.found,
    )


@dataclass(frozen=True, kw_only=True)
class Whole:
    """What all parts of a report share."""

    order: list[Key]
    looks: dict[str, Style]
    # by panel: hypervolumes of all parts are measured from the same point, so that they compare
    worst: dict[str, Floats]
    opening: Key | None  # most architectures compared, in most panels: where the page opens
    many: bool  # Records: then only some parts are told in full
    detailed: set[Key]
    explored: set[Key]

    def suffix(self, key: Key) -> str:
        """What the names of a part's files end in: only what tells it apart."""
        sizes = Counter(label for label, _ in self.order)
        label, size = key
        return f"-{stem(label)}" * (len(sizes) > 1) + f"-{stem(size)}" * (sizes[label] > 1)


def whole(outlines: Iterable[Outline]) -> Whole:
    every = {one.key: one for one in sorted(outlines, key=lambda one: one.key)}
    order = list(every)

    def prominence(key: Key) -> tuple[int, int]:
        return sum(len(one.points) for one in every[key].found), every[key].rows

    opening = max(order, key=prominence, default=None)
    found = [one for outline in every.values() for one in outline.found]
    many = sum(one.records for one in every.values()) > MANY
    return Whole(
        order=order,
        looks=styles(arch for one in every.values() for arch in one.archs),
        worst={
            panel: reference([one for one in found if one.panel.name == panel])
            for panel in {one.panel.name for one in found}
        },
        opening=opening,
        many=many,
        detailed=set(order[:DETAILED] if many else order),
        explored=_explored(sorted(every.values(), key=lambda one: one.key != opening)),
    )


def _explored(outlines: Sequence[Outline]) -> set[Key]:
    """The first, and those after it while there is room for their rows."""
    room, kept = EXPLORED, set[Key]()
    for one in outlines:
        if one.rows <= room or not kept:
            room -= one.rows
            kept.add(one.key)
    return kept


def evidence(part: Part, shared: Whole) -> Evidence:
    """The reading of one part."""
    chosen = list(best_learning_rates(part.records))
    frontiers = [
        attained(one, part.records, chosen, shared.worst[one.panel.name]) for one in part.found
    ]
    return Evidence(records=part.records, rows=part.rows, chosen=chosen, attained=frontiers)


def readings(records: Iterable[Record]) -> list[tuple[Evidence, str]]:
    """Of each part, and what its files' names end in."""
    own = parts(records)
    shared = whole(map(outline, own))
    return [(evidence(part, shared), shared.suffix(part.key)) for part in own]
