"""All Records as one tidy table: a row for each architecture, setting and metric."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from report.choice import SETTING, Chosen, best_learning_rates, setting_of
from report.metrics import METRICS, Metric
from report.units import show
from results import Case, Record
from results.schema import LEARNED

SHARED = ["label", "size", "arch", *SETTING, "lr", "lr_at_edge"]  # by all rows of one cell
NUMBERS = ["value", "low", "high"]
COLUMNS = [*SHARED, "seeds", "metric", "unit", *NUMBERS, "status"]


def phase_of(case: Case) -> str:
    """Of a limit, also of which phase's steps, and in what memory."""
    within = f" in {show(case.memory_bytes, 'bytes')}" if case.memory_bytes else ""
    return f"{case.phase} of {case.steps_of}{within}" if case.steps_of else case.phase


def _but_seed(record: Record) -> tuple[Any, ...]:
    case = record.case
    _, *setting = setting_of(case)
    return record.label, case.size, case.arch, phase_of(case), *setting, case.grows or ""


@cache
def _metrics(phase: str, grows: str | None) -> list[Metric]:
    return [one for one in METRICS.values() if phase in one.phases and grows == one.grows]


def _measured(
    metric: Metric, records: list[Record], failed: Sequence[str]
) -> tuple[Any, ...] | None:
    """The mean over seeds, and how far it reaches: over the seeds and their timed steps."""
    values: list[float] = []
    ends: list[float] = []
    remarks: list[str] = []
    for record in records:
        if (value := metric.of(record)) is not None:
            values.append(value)
        if (remark := metric.remark(record)) is not None:
            remarks.append(remark)
        ends += metric.spread(record) or ()
    if not values:
        why = [*failed, *remarks]
        return (0, metric.name, metric.unit, None, None, None, why[0]) if why else None
    ends += values
    status = remarks[0] if remarks else "ok"
    return len(values), metric.name, metric.unit, fmean(values), min(ends), max(ends), status


def _cells(
    records: list[Record], chosen: dict[int, Chosen]
) -> Iterator[tuple[tuple[Any, ...], list[tuple[Any, ...]]]]:
    """What the rows of each cell share, and the rest of each row."""
    keyed = sorted(((_but_seed(record), record) for record in records), key=itemgetter(0))
    for key, group in groupby(keyed, key=itemgetter(0)):
        seeds = [record for _, record in group]
        picks = [chosen[id(record)] for record in seeds if id(record) in chosen]
        rates = {pick.record.case.lr for pick in picks} - {None}  # a checkpoint was trained at none
        lr = ", ".join(sorted(f"{rate:g}" for rate in rates))
        case = seeds[0].case
        failed = [record.status for record in seeds if record.status != "ok"]
        metrics = _metrics(case.phase, case.grows)
        measured = [_measured(metric, seeds, failed) for metric in metrics]
        # `grows` is in the metric's name
        shared = (*key[:-1], lr, any(pick.at_edge for pick in picks))
        yield shared, [row for row in measured if row is not None]


def _column(name: str, values: Iterable[Any]) -> NDArray[Any]:
    """Words as plain objects, which are quicker to go through one by one than pandas' own."""
    found = list(values)
    if name in NUMBERS:
        return np.array(found, float)
    return np.array(found, object if found and isinstance(found[0], str) else None)


def tidy(records: Iterable[Record]) -> pd.DataFrame:
    """Every metric of every Record that counts; a training counts if validation chose it."""
    records = list(records)
    chosen = {id(pick.record): pick for pick in best_learning_rates(records)}
    counted = [r for r in records if r.case.phase not in LEARNED or id(r) in chosen]
    cells = list(_cells(counted, chosen))
    shared = zip(*(shared for shared, _ in cells), strict=True)
    own = zip(*(row for _, rows in cells for row in rows), strict=True)
    of_cell = np.repeat(np.arange(len(cells)), [len(rows) for _, rows in cells])
    columns = {n: _column(n, v)[of_cell] for n, v in zip(SHARED, shared, strict=False)}
    columns |= {n: _column(n, v) for n, v in zip(COLUMNS[len(SHARED) :], own, strict=False)}
    frame = pd.DataFrame(
        {name: pd.Series(column, dtype=column.dtype) for name, column in columns.items()},
        columns=COLUMNS,
    )
    metrics = pd.CategoricalDtype(list(METRICS))  # found in the whole by number, not by letters
    return frame.astype({"metric": metrics, "value": float, "low": float, "high": float})


def of_metric(rows: pd.DataFrame, metric: str, phase: str | None = None) -> pd.DataFrame:
    picked = rows[rows["metric"] == metric]
    return picked if phase is None else picked[picked["phase"] == phase]
