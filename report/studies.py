"""Studies: measurements that are no cell of the sweep, each a part of the page of its own."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from report import scaling
from report.choice import best_learning_rates
from report.claims.evidence import Evidence
from report.files import stem
from report.plots import scaling as plot_scaling
from report.plots.drawing import Drawing
from report.plots.style import Style
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
    drawings: list[Drawing]
    tables: list[tuple[str, pd.DataFrame]]
    failures: list[str]


def is_study(record: Record) -> bool:
    return record.case.phase in PHASES


def _by_label(records: Iterable[Record]) -> list[tuple[str, list[Record]]]:
    found: dict[str, list[Record]] = {}
    for record in filter(is_study, records):
        found.setdefault(record.label, []).append(record)
    return sorted(found.items())


def readings(records: Iterable[Record]) -> list[Evidence]:
    """For the claims, one for each machine."""
    return [
        Evidence(records=own, rows=tidy(own), chosen=list(best_learning_rates(own)), attained=[])
        for _, own in _by_label(records)
    ]


def studies(records: Iterable[Record], looks: dict[str, Style]) -> list[Study]:
    """One for each machine and kind that there are Records of."""
    every = _by_label(records)
    return [
        _scaling(label, own, looks, f"-{stem(label)}" * (len(every) > 1)) for label, own in every
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
        drawings=[drawing] if drawing else [],
        tables=[(title, rows) for title, rows in tables if len(rows)],
        failures=failures(records),
    )


LEAD = (
    "The same training FLOPs spent on models of many sizes. Too small a model has no room for what "
    "there is to learn, too large a one reads too little; between them lies the best size of each "
    "budget. No loss is told beyond the budgets that were trained."
)
