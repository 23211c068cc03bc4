"""Studies: measurements that are no cell of the sweep, each a part of the page of its own."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import pandas as pd

from report import align, infill, scaling
from report.choice import best_learning_rates
from report.claims.evidence import Evidence
from report.files import stem
from report.plots import align as plot_align
from report.plots import infill as plot_infill
from report.plots import scaling as plot_scaling
from report.plots.drawing import Drawing
from report.plots.style import Style
from report.provenance import failures
from report.roofline import ceiling
from report.table import tidy
from results import Record

Looks = dict[str, Style]


@dataclass(frozen=True, kw_only=True)
class Study:
    """What one machine's Records of one kind say."""

    title: str
    lead: str
    drawings: list[Drawing]
    tables: list[tuple[str, pd.DataFrame]]
    failures: list[str]


def is_study(record: Record) -> bool:
    return record.case.phase in KINDS


def _by_label(records: Iterable[Record], phase: str) -> list[tuple[str, list[Record]]]:
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.case.phase == phase:
            found.setdefault(record.label, []).append(record)
    return sorted(found.items())


def readings(records: Iterable[Record]) -> list[Evidence]:
    """For the claims, one for each machine and kind."""
    every = list(records)
    return [
        Evidence(records=own, rows=tidy(own), chosen=list(best_learning_rates(own)), attained=[])
        for phase in KINDS
        for _, own in _by_label(every, phase)
    ]


def studies(records: Iterable[Record], looks: Looks) -> list[Study]:
    """One for each machine and kind that there are Records of."""
    every = list(records)
    return [
        study(label, own, looks, f"-{stem(label)}" * (len(labels) > 1))
        for phase, study in KINDS.items()
        if (labels := _by_label(every, phase))
        for label, own in labels
    ]


def _scaling(label: str, records: list[Record], looks: Looks, suffix: str) -> Study:
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
        lead=SCALING,
        drawings=[drawing] if drawing else [],
        tables=[(title, rows) for title, rows in tables if len(rows)],
        failures=failures(records),
    )


def _align(label: str, records: list[Record], looks: Looks, suffix: str) -> Study:
    drawings, tables = list[Drawing](), list[tuple[str, pd.DataFrame]]()
    for i, course in enumerate(align.courses(records)):
        named = course.instructions
        tables.append((f"Fine-tuning on {named}", align.lessons_table(course)))
        if course.is_gold:
            stem = f"align{suffix}" + f"-{i}" * bool(drawings)
            drawings.append(plot_align.draw(course, looks, stem, label))
        tables += [
            (f"{title}, {named}", rows)
            for title, rows in (
                ("Reward models, pairs ranked right", align.scorers_table(course)),
                ("Best of n by reward model", align.best_of_table(course)),
                ("Optimised policies", align.optimised_table(course)),
                ("Throughput and memory of a policy's steps", align.costs_table(course)),
            )
            if len(rows)
        ]
    return Study(
        title=f"Alignment on {label}",
        lead=ALIGNMENT,
        drawings=drawings,
        tables=tables,
        failures=failures(records),
    )


def _infill(label: str, records: list[Record], looks: Looks, suffix: str) -> Study:
    found = infill.trainings(records)
    drawing = plot_infill.draw(found, looks, f"infill{suffix}", label)
    told = [("What each was trained on, and what it understood", infill.table(found))]
    return Study(
        title=f"Filling in against going on: {label}",
        lead=INFILL,
        drawings=[drawing] if drawing else [],
        tables=told if found else [],
        failures=failures(records),
    )


KINDS: dict[str, Callable[[str, list[Record], Looks, str], Study]] = {
    scaling.PHASE: _scaling,
    infill.PHASE: _infill,
    align.PHASE: _align,
}
SCALING = (
    "The same training FLOPs spent on models of many sizes. Too small a model has no room for what "
    "there is to learn, too large a one reads too little; between them lies the best size of each "
    "budget. No loss is told beyond the budgets that were trained."
)
INFILL = (
    "An encoder sees both sides of a token, a causal model what is before it. The same trunk, with "
    "the same windows and as many steps, is trained to fill in masked tokens or to go on. Their "
    "losses are two quantities, and a pseudo-likelihood is no code length: neither is perplexity. "
    "What both are asked alike is to fill gaps, and what their frozen states say of where a text "
    "is from."
)
ALIGNMENT = (
    "A model is taught to follow instructions, a reward model learns which of its answers are "
    "preferred, and the policy is moved towards that reward. Because a rule says what each "
    "instruction means, the reward that is meant is known beside the one that was learned."
)
