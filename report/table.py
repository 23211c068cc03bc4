"""All Records as one tidy table: a row for each architecture, setting and metric."""

from collections.abc import Iterable, Iterator
from itertools import groupby
from operator import itemgetter
from statistics import fmean
from typing import Any

import pandas as pd

from report.choice import SETTING, Chosen, best_learning_rates, setting_of, values
from report.metrics import METRICS, Metric
from report.units import show
from results import Case, Record
from results.schema import LEARNED

COLUMNS = [
    "label",
    "size",
    "arch",
    *SETTING,
    "lr",
    "lr_at_edge",
    "seeds",
    "metric",
    "unit",
    "value",
    "low",
    "high",
    "status",
]


def phase_of(case: Case) -> str:
    """Of a limit, also of which phase's steps, and in what memory."""
    within = f" in {show(case.memory_bytes, 'bytes')}" if case.memory_bytes else ""
    return f"{case.phase} of {case.steps_of}{within}" if case.steps_of else case.phase


def _but_seed(record: Record) -> tuple[Any, ...]:
    case = record.case
    _, *setting = values(setting_of(case))
    return record.label, case.size, case.arch, phase_of(case), *setting, case.grows or ""


def _measured(metric: Metric, records: list[Record]) -> dict[str, Any] | None:
    """The mean over seeds, and how far it reaches: over the seeds and their timed steps."""
    values = [value for record in records if (value := metric.of(record)) is not None]
    failed = [record.status for record in records if record.status != "ok"]
    remarks = [remark for record in records if (remark := metric.remark(record)) is not None]
    if not values and not failed and not remarks:
        return None
    reaches = [spread for record in records if (spread := metric.spread(record)) is not None]
    return {
        "seeds": len(values),
        "value": fmean(values) if values else None,
        "low": min([*values, *(low for low, _ in reaches)], default=None),
        "high": max([*values, *(high for _, high in reaches)], default=None),
        "status": [*remarks, "ok"][0] if values else [*failed, *remarks][0],
    }


def _rows(records: list[Record], chosen: dict[int, Chosen]) -> Iterator[dict[str, Any]]:
    keyed = sorted(((_but_seed(record), record) for record in records), key=itemgetter(0))
    for key, group in groupby(keyed, key=itemgetter(0)):
        seeds = [record for _, record in group]
        picks = [chosen[id(record)] for record in seeds if id(record) in chosen]
        shared = dict(zip(COLUMNS, key[:-1], strict=False))  # `grows` is in the metric's name
        rates = {pick.record.case.lr for pick in picks} - {None}  # a checkpoint was trained at none
        shared["lr"] = ", ".join(sorted(f"{rate:g}" for rate in rates))
        shared["lr_at_edge"] = any(pick.at_edge for pick in picks)
        case = seeds[0].case
        for metric in METRICS.values():
            if case.phase not in metric.phases or case.grows != metric.grows:
                continue
            measured = _measured(metric, seeds)
            if measured is not None:
                yield {**shared, "metric": metric.name, "unit": metric.unit, **measured}


def tidy(records: Iterable[Record]) -> pd.DataFrame:
    """Every metric of every Record that counts; a training counts if validation chose it."""
    records = list(records)
    chosen = {id(pick.record): pick for pick in best_learning_rates(records)}
    counted = [r for r in records if r.case.phase not in LEARNED or id(r) in chosen]
    frame = pd.DataFrame(list(_rows(counted, chosen)), columns=COLUMNS)
    metrics = pd.CategoricalDtype(list(METRICS))  # found in the whole by number, not by letters
    return frame.astype({"metric": metrics, "value": float, "low": float, "high": float})


def of_metric(rows: pd.DataFrame, metric: str, phase: str | None = None) -> pd.DataFrame:
    picked = rows[rows["metric"] == metric]
    return picked if phase is None else picked[picked["phase"] == phase]
