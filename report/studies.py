"""Studies: measurements that are no cell of the sweep, each a part of the page of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from report import scaling
from report.choice import best_learning_rates
from report.claims.evidence import Evidence
from report.peers import is_peers
from report.plots import scaling as plot_scaling
from report.plots.drawing import Drawing
from report.plots.style import Style, styles
from report.provenance import failures
from report.roofline import ceiling
from report.table import tidy
from results import Record

PHASES = (scaling.PHASE,)


@dataclass(frozen=True, kw_only=True)
class Study:
    """What one machine's Records of one kind say."""

    title: str
    lead: str
    evidence: Evidence  # for the claims
    drawings: list[Drawing]
    tables: list[tuple[str, pd.DataFrame]]
    failures: list[str]


def is_study(record: Record) -> bool:
    return record.case.phase in PHASES


def evidence_of(records: Sequence[Record]) -> Evidence:
    return Evidence(
        records=list(records),
        rows=tidy(records),
        chosen=list(best_learning_rates(records)),
        attained=[],
    )


def studies(records: Sequence[Record]) -> list[Study]:
    """One for each machine and kind that there are Records of."""
    looks = styles(record.case.arch for record in records if not is_peers(record))
    by_label: dict[str, list[Record]] = {}
    for record in records:
        if is_study(record):
            by_label.setdefault(record.label, []).append(record)
    several = len(by_label) > 1
    return [
        _scaling(label, own, looks, f"-{label}" * several)
        for label, own in sorted(by_label.items())
    ]


def _scaling(label: str, records: list[Record], looks: dict[str, Style], suffix: str) -> Study:
    found = scaling.readings(records)
    kinds = (f"matmul-{record.case.dtype}" for record in records)
    rates = [ceiling(record, kind) for record, kind in zip(records, kinds, strict=True)]
    flops_per_s = max((rate for rate in rates if rate is not None), default=None)
    drawing = plot_scaling.draw(found, looks, f"scaling{suffix}", label)
    tables = [
        ("Laws over size and text", scaling.laws_table(found)),
        ("Where each budget is best spent", scaling.optima_table(found)),
        ("Little text, read many times", scaling.repeated_table(records)),
        ("What the models of the story took, in FLOPs alone", scaling.famous_table(flops_per_s)),
    ]
    return Study(
        title=f"Scaling on {label}",
        lead=LEAD,
        evidence=evidence_of(records),
        drawings=[drawing] if drawing else [],
        tables=[(title, rows) for title, rows in tables if len(rows)],
        failures=failures(records),
    )


LEAD = (
    "The same training FLOPs spent on models of many sizes. Too small a model has no room for what "
    "there is to learn, too large a one reads too little; between them lies the best size of each "
    "budget. No loss is told beyond the budgets that were trained."
)
