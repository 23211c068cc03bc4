"""Studies: measurements that are no cell of the sweep, each a part of the page of its own."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from report import infill, scaling
from report.choice import best_learning_rates
from report.claims.evidence import Evidence
from report.plots import infill as plot_infill
from report.plots import scaling as plot_scaling
from report.plots.drawing import Drawing
from report.plots.style import Style
from report.provenance import failures
from report.roofline import ceiling
from report.table import tidy
from results import Record

PHASES = (scaling.PHASE, infill.PHASE)


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


def _by_kind(records: Iterable[Record]) -> list[tuple[tuple[str, str], list[Record]]]:
    """By machine and phase."""
    found: dict[tuple[str, str], list[Record]] = {}
    for record in filter(is_study, records):
        found.setdefault((record.label, record.case.phase), []).append(record)
    return sorted(found.items(), key=lambda item: (item[0][0], PHASES.index(item[0][1])))


def readings(records: Iterable[Record]) -> list[Evidence]:
    """For the claims, one for each machine and kind."""
    return [
        Evidence(records=own, rows=tidy(own), chosen=list(best_learning_rates(own)), attained=[])
        for _, own in _by_kind(records)
    ]


def studies(records: Iterable[Record], looks: dict[str, Style]) -> list[Study]:
    """One for each machine and kind that there are Records of."""
    every = _by_kind(records)
    several = len({label for (label, _), _ in every}) > 1
    return [KINDS[phase](label, own, looks, f"-{label}" * several) for (label, phase), own in every]


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


def _infill(label: str, records: list[Record], looks: dict[str, Style], suffix: str) -> Study:
    found = infill.trainings(records)
    drawing = plot_infill.draw(found, looks, f"infill{suffix}", label)
    return Study(
        title=f"Filling in against going on on {label}",
        lead=INFILL_LEAD,
        drawings=[drawing] if drawing else [],
        tables=[("What each was trained on, and what it understood", infill.table(found))]
        if found
        else [],
        failures=failures(records),
    )


KINDS = {scaling.PHASE: _scaling, infill.PHASE: _infill}
INFILL_LEAD = (
    "An encoder sees both sides of a token, a causal model what is before it. The same trunk, with "
    "the same windows and as many steps, is trained to fill in masked tokens or to go on. Their "
    "losses are two quantities, and a pseudo-likelihood is no code length: neither is perplexity. "
    "What both are asked alike is to fill gaps, and what their frozen states say of where a text "
    "is from."
)
LEAD = (
    "The same training FLOPs spent on models of many sizes. Too small a model has no room for what "
    "there is to learn, too large a one reads too little; between them lies the best size of each "
    "budget. No loss is told beyond the budgets that were trained."
)
