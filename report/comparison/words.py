"""A comparison in words: sentences and tables of plain text, the same on every kind of page."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from report.comparison.gate import FALSE_ALARMS, Verdict
from report.comparison.ratios import CEILINGS, CellRatio, GroupRatio, Pair, Ratios
from report.statistics import Estimate
from report.summary import NOTHING

LONGEST = 100  # letters of a name that are shown
NAMED = 20  # cells or sentences of a kind before the rest is only counted
DRIFT = 0.1  # a sentinel that moved by more is told

EXPLANATION = (
    "Every ratio is to the first label, and brackets are its interval at two sigma. The ratio is "
    "the geometric mean of the cells. Steadied, it is that of their middle half, and what the "
    "sentinel explains, the same work timed beside every cell, is taken out: the gate looks at it. "
    "Over matmul and copy, the ratio is divided by that of the machines' measured ceilings: what "
    "stays is not the silicon's. A cell's own interval knows nothing of what slowed it as a whole."
)


@dataclass(frozen=True, kw_only=True)
class Part:
    """What there is to say about one pair."""

    title: str
    sentences: list[str]
    tables: list[tuple[str, pd.DataFrame]]


def plain(text: str) -> str:
    """A name fit to be shown: on one line, without control characters, not endless."""
    kept = text[: LONGEST + 1]
    if len(kept) > LONGEST:
        kept = kept[: LONGEST - 1] + "…"
    return "".join("�" if unicodedata.category(c)[0] == "C" else c for c in kept)


def _number(ratio: float | None) -> str:
    return NOTHING if ratio is None else f"{ratio:.3f}"


def _estimate(found: Estimate | None, otherwise: float | None = None) -> str:
    if found is None or found.low == found.high:
        return _number(otherwise if found is None else found.value)
    return f"{found.value:.3f} ({found.low:.2f}–{found.high:.2f})"


def _told(columns: dict[str, list[str]]) -> pd.DataFrame:
    """Without the columns that say nothing."""
    return pd.DataFrame(
        {name: cells for name, cells in columns.items() if any(cell != NOTHING for cell in cells)}
    )


def _group_table(groups: Sequence[GroupRatio]) -> pd.DataFrame:
    def column(cell: Callable[[GroupRatio], str]) -> list[str]:
        return [cell(group) for group in groups]

    return _told(
        {
            "of": column(lambda g: plain(g.name)),
            "cells": column(lambda g: str(g.cells)),
            "ratio": column(lambda g: _estimate(g.interval, g.mean)),
            "steadied": column(lambda g: _estimate(g.steadied.estimate if g.steadied else None)),
            **{
                f"over {name}": [_number(group.of_ceiling.get(name)) for group in groups]
                for name in CEILINGS
            },
            "sentinel's speed": column(lambda g: _number(g.sentinel)),
        }
    )


def _distance(cell: CellRatio) -> float:
    return max(cell.value, 1 / cell.value)


def _cell_table(cells: Sequence[CellRatio], most: int) -> pd.DataFrame:
    """The `most` that moved farthest, farthest first."""
    shown = sorted(cells, key=_distance, reverse=True)[:most]
    return _told(
        {
            "cell": [plain(cell.name) for cell in shown],
            "ratio": [_estimate(cell.interval, cell.value) for cell in shown],
            "sentinel's speed": [_number(cell.sentinel) for cell in shown],
        }
    )


def _first(sentences: list[str]) -> list[str]:
    more = [f"and {len(sentences) - NAMED} more"] if len(sentences) > NAMED else []
    return [*sentences[:NAMED], *more]


def _tables(ratios: Ratios, most: int) -> Iterator[tuple[str, pd.DataFrame]]:
    label = ratios.quantity.label
    yield f"{label}, {ratios.quantity.better} is better", _group_table(ratios.groups)
    moved = [cell for cell in ratios.cells if cell.baseline != cell.other]
    if moved:
        first = f", the first {most} of {len(moved):,}" if len(moved) > most else ""
        yield f"{label} by cell, farthest from 1 first{first}", _cell_table(moved, most)


def _same(ratios: Ratios) -> bool:
    return ratios.quantity.exact and all(cell.baseline == cell.other for cell in ratios.cells)


def silicon_or_software(ratios: Ratios) -> str | None:
    """Whether the machines' ceilings differ by as much as the throughput; None: unknown."""
    overall = ratios.groups[0]
    if ratios.quantity.exact or overall.interval is None or len(overall.of_ceiling) < 2:
        return None
    if overall.interval.low <= 1 <= overall.interval.high:
        return f"{ratios.quantity.label}: no difference is seen over all cells."
    # a step is bound by arithmetic or by memory, so its limit moved by one of the two or between
    moved = [overall.mean / ratio for ratio in overall.of_ceiling.values()]
    if min(moved) <= overall.interval.high and max(moved) >= overall.interval.low:
        verdict = "by as much as its measured ceilings: the silicon explains it"
    else:
        verdict = (
            f"its measured ceilings by {min(moved):.3f} to {max(moved):.3f}: the silicon does not "
            "explain it, software or a disturbed machine does"
        )
    return f"{ratios.quantity.label} moved by {overall.mean:.3f} over all cells, {verdict}."


def _disturbed(ratios: Ratios) -> str | None:
    moved = [c for c in ratios.cells if c.sentinel and abs(c.sentinel - 1) > DRIFT]
    if not moved:
        return None
    return (
        f"{ratios.quantity.label}: beside {len(moved)} of {len(ratios.cells)} cells the sentinel's "
        f"speed differs by more than {DRIFT:.0%}: the machine was not itself."
    )


def _sentences(pair: Pair) -> list[str]:
    ours, theirs = pair.alone
    names = plain(pair.baseline.name), plain(pair.other.name)
    sentences = [
        f"{count:,} cells are only in {name} and not compared."
        for count, name in ((ours, names[0]), (theirs, names[1]))
        if count
    ]
    sentences += _first([plain(sentence) for sentence in pair.failed])
    for ratios in pair.ratios:
        if _same(ratios):
            sentences.append(
                f"{ratios.quantity.label}: the same in all {len(ratios.cells):,} cells."
            )
        else:
            told = (silicon_or_software(ratios), _disturbed(ratios))
            sentences += [sentence for sentence in told if sentence]
    return sentences


def part(pair: Pair, most: int = NAMED) -> Part:
    """`most`: cells in a table."""
    ours, theirs = plain(pair.baseline.name), plain(pair.other.name)
    tables = [
        table for ratios in pair.ratios if not _same(ratios) for table in _tables(ratios, most)
    ]
    if pair.differences:
        rows = [tuple(map(plain, difference)) for difference in pair.differences]
        # positions as names: two labels may read alike once they are plain
        facts = pd.DataFrame(rows).set_axis(["what differs", ours, theirs], axis=1)
        tables.append(("What differs besides", facts))
    return Part(title=f"{theirs} over {ours}", sentences=_sentences(pair), tables=tables)


def gate(verdicts: Iterable[Verdict]) -> list[str]:
    """A sentence for each condition that fires; one that none does; nothing without a gate."""
    verdicts = list(verdicts)
    if not verdicts:
        return []
    fired = [f"FAIL {plain(str(verdict))}" for verdict in verdicts if verdict.fires]
    looked = f"{len(verdicts)} ratio{'s' if len(verdicts) > 1 else ''}"
    chance = f"false alarms on the same code: at most {FALSE_ALARMS:.0%}"
    return fired or [f"The gate holds: of {looked} none is beyond its threshold ({chance})."]
