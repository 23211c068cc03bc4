"""Where the rows of the page's plots come from: their Records, and what made them.

Texts are cut, so that one absurd Record costs only itself.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from report.choice import setting_of
from report.claims.evidence import Evidence
from report.table import phase_of
from results import Record
from results.schema import LEARNED
from results.text import visible

NAMES_SHOWN = 12  # files of one row before the rest is only counted
LONGEST = 200  # characters of a name or a reason

Source = dict[str, str]


def cut(text: object, longest: int = LONGEST) -> str:
    """`text` as it can be shown: no longer than that, no half of a character, on one line."""
    whole = str(text).encode("utf-8", "replace").decode()
    if len(whole) <= longest:
        return visible(whole)
    return f"{visible(whole[:longest])}… (cut: {len(whole):,} characters)"


def _several(values: Iterable[object]) -> str:
    distinct = sorted({cut(value) for value in values})
    more = f" and {len(distinct) - NAMES_SHOWN:,} more" if len(distinct) > NAMES_SHOWN else ""
    return ", ".join(distinct[:NAMES_SHOWN]) + more


def _source(records: Sequence[Record]) -> Source:
    versions = {f"{name} {version}" for r in records for name, version in r.versions.items()}
    told = {
        "Record": _several(f"{record.label}/{record.case}.json" for record in records),
        "seeds": _several(record.case.seed for record in records),
        "why": _several(record.reason for record in records if record.reason),
        "commit": _several(record.commit or "unknown" for record in records),
        "versions": _several(versions),
        "kernels": _several(f"{op}: {name}" for r in records for op, name in r.kernels.items()),
        "measured": _several(record.measured_at[:10] for record in records),
    }
    return {name: text for name, text in told.items() if text}


def sources(evidence: Evidence) -> dict[tuple[Any, ...], Source]:
    """Of the Records that count, by the names in WHO."""
    chosen = {id(pick.record) for pick in evidence.chosen}
    grouped: dict[tuple[Any, ...], list[Record]] = {}
    for record in evidence.records:
        case = record.case
        if case.phase not in LEARNED or id(record) in chosen:
            setting = setting_of(case)._replace(phase=phase_of(case))
            grouped.setdefault((record.label, case.size, case.arch, *setting), []).append(record)
    return {key: _source(records) for key, records in grouped.items()}
