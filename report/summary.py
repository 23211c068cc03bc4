"""Tables for people: text in every cell, and a failure named where there is no number."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import pandas as pd

from report import inert
from report.choice import HOW, SETTING, Setting, common_setting, unusual, within
from report.compare import FAILURES, PANELS, QUALITY, Comparison, Panel, trained_setting
from report.losses import SOLVED
from report.metrics import METRICS
from report.table import of_metric
from report.units import show, show_count, show_length

NOTHING = "–"
ARCH, LOSS = "architecture", "test perplexity"
# what stands in brackets after a metric of the same step
BESIDE = {
    "train_throughput": "limit_fraction",
    "prefill_throughput": "limit_fraction",
    "decode_throughput": "limit_fraction",
    "flops_utilisation": "bandwidth_utilisation",
}
COLUMN = ["seq_len", "batch", *HOW]
BY_LENGTH = (
    ("train_throughput", "train", "Training throughput (tokens/s)"),
    ("prefill_throughput", "prefill", "Prefill throughput (tokens/s)"),
    ("time_to_first_token", "prefill", "Time to first token"),
    ("decode_throughput", "decode", "Decode throughput (tokens/s)"),
    ("decode_latency", "decode", "Time per generated token"),
    ("peak_memory", "train", "Peak memory in training"),
    ("peak_memory", "prefill", "Peak memory in prefill"),
    ("peak_memory", "decode", "Peak memory in decode"),
    ("state", "prefill", "State per sequence"),
    ("energy", "train", "Energy per token in training"),
    ("energy", "prefill", "Energy per token in prefill"),
    ("energy", "decode", "Energy per token in decode"),
    ("flops_utilisation", "train", "Model FLOPs utilisation in training"),
    ("flops_utilisation", "prefill", "Model FLOPs utilisation in prefill"),
    ("flops_utilisation", "decode", "Model FLOPs utilisation in decode"),
)
OF_TASKS = (
    ("accuracy", "recall", "Recall: right answers by task and load"),
    ("solved", "recall", f"Recall: seeds with {SOLVED:.0%} right, by task and load"),
    ("accuracy", "state", "State tracking: right answers by task and load"),
    ("solved", "state", f"State tracking: seeds with {SOLVED:.0%} right, by task and load"),
    ("excess", "markov", "Markov chains: nats beyond Bayes by counts to keep"),
)


class Cell(NamedTuple):
    arch: str
    value: float
    unit: str
    status: str

    def __str__(self) -> str:
        if math.isnan(self.value):
            return FAILURES.get(self.status, self.status)
        least = "≥ " * (self.status == "at least")
        return least + show(self.value, self.unit) + "*" * (self.status == "in cache")


def _columns(rows: pd.DataFrame, names: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """The rows, of each only these."""
    return zip(*(rows[name].tolist() for name in names), strict=True)


def _shown(column: Iterable[Cell], names: Sequence[str]) -> list[str]:
    """Of each architecture the first."""
    first: dict[str, Cell] = {}
    for cell in column:
        first.setdefault(cell.arch, cell)
    return [str(first[name]) if name in first else NOTHING for name in names]


def cells(rows: pd.DataFrame, names: Sequence[str]) -> list[str]:
    return _shown(map(Cell._make, _columns(rows, Cell._fields)), names)


def _beside(rows: pd.DataFrame, metric: str, phase: str) -> pd.DataFrame:
    """What stands in brackets after `metric`: nothing if it is unknown throughout."""
    found = of_metric(rows, BESIDE.get(metric, ""), phase)
    return found if (found["status"] != "unknown").any() else found.iloc[:0]


def _bracketed(numbers: Iterable[str], beside: Iterable[str]) -> list[str]:
    return [
        number if more in (NOTHING, number) else f"{number} ({more})"
        for number, more in zip(numbers, beside, strict=True)
    ]


def _by_column(rows: pd.DataFrame) -> dict[tuple[Any, ...], list[Cell]]:
    """What stands in one column of a table, by what it shares, in order."""
    columns: dict[tuple[Any, ...], list[Cell]] = {}
    found = map(Cell._make, _columns(rows, Cell._fields))
    for key, cell in zip(_columns(rows, COLUMN), found, strict=True):
        columns.setdefault(key, []).append(cell)
    return dict(sorted(columns.items(), key=itemgetter(0)))


def _explained(metric: str, beside: pd.DataFrame) -> str:
    """What a title says of the brackets and of the stars in them."""
    if beside.empty:
        return ""
    starred = "in cache" in set(beside.dropna(subset=["value"])["status"])
    return f"; in brackets: {METRICS[BESIDE[metric]].label.lower()}" + ", *: in cache" * starred


def _rates(quality: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The learning rate validation chose, marked where a better one may lie outside those tried."""
    by_name = {row["arch"]: row for row in quality.to_dict("records")}
    return [
        by_name[name]["lr"] + " (edge)" * by_name[name]["lr_at_edge"] or NOTHING
        if name in by_name
        else NOTHING
        for name in names
    ]


def _at(setting: Setting) -> str:
    # unbreakable, so that a narrow heading keeps each number with its word
    return f"at\u00a0{show_length(setting.seq_len)}, batch\u00a0{setting.batch}"


@dataclass(frozen=True, kw_only=True)
class PanelCosts:
    """One cost of every architecture, by name, in the setting that it is compared in."""

    panel: Panel
    setting: Setting
    cells: dict[str, str]


def panel_costs(rows: pd.DataFrame, found: Sequence[Comparison]) -> Iterator[PanelCosts]:
    """The costs of the frontier's panels; without any quality, in a setting of their own."""
    names = sorted(set(rows["arch"]))
    settings = {comparison.panel.name: comparison.cost for comparison in found}
    for panel in PANELS:
        costs = of_metric(rows, panel.metric.name, panel.phase)
        setting = settings.get(panel.name) or common_setting(costs)
        if setting is not None:
            by_name = zip(names, cells(within(costs, setting), names), strict=True)
            yield PanelCosts(panel=panel, setting=setting, cells=dict(by_name))


def summary(
    rows: pd.DataFrame, found: Sequence[Comparison], compared: Sequence[PanelCosts]
) -> pd.DataFrame:
    """One line for each architecture, in the settings of the frontier figure."""
    names = sorted(set(rows["arch"]))
    columns = {ARCH: names}
    columns["parameters"] = cells(of_metric(rows, "parameters").dropna(subset=["value"]), names)
    trained = trained_setting(rows)
    if trained is not None:
        quality = within(of_metric(rows, QUALITY.name), trained)
        columns[LOSS] = cells(quality, names)
        bits = within(of_metric(rows, "bits_per_byte"), trained)
        columns["test bits/byte"] = cells(bits, names)
        columns["learning rate"] = _rates(quality, names)
        seeds = dict(zip(quality["arch"], quality["seeds"], strict=True))
        columns["seeds"] = [str(seeds.get(name, NOTHING)) for name in names]
    for costs in compared:
        metric, setting = costs.panel.metric, costs.setting
        beside = within(_beside(rows, metric.name, setting.phase), setting)
        unit = " (tokens/s)" if metric.unit == "tokens/s" else ""
        bracket = "" if beside.empty else " (of the limit)"
        columns[f"{costs.panel.name}{unit}, {_at(setting)}{bracket}"] = _bracketed(
            costs.cells.values(), cells(beside, names)
        )
    if found:
        led = [(c.panel.short, c.leaders) for c in found]
        columns["on the frontier of"] = [
            ", ".join(short for short, leaders in led if name in leaders) or NOTHING
            for name in names
        ]
    return pd.DataFrame(columns)


def by_length(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """For each cost a table of architectures by length, with a column for every batch measured."""
    tables = []
    for metric, phase, title in BY_LENGTH:
        picked, beside = of_metric(rows, metric, phase), _beside(rows, metric, phase)
        if not {*picked["status"], *beside["status"]} - {"unknown"}:
            continue
        names = sorted(set(picked["arch"]))
        columns = {ARCH: names}
        several = picked["dtype"].nunique() > 1
        shares = _by_column(beside)
        for key, column in _by_column(picked).items():
            seq_len, batch, dtype, *how = key
            heading = f"{show_length(seq_len)} × {batch}"
            heading = " ".join([heading, *[dtype] * several, *unusual(*how)])
            columns[heading] = _bracketed(_shown(column, names), _shown(shares.get(key, []), names))
        title += f", {METRICS[metric].better} is better{_explained(metric, beside)}"
        tables.append((title, pd.DataFrame(columns, dtype=object)))
    return tables + what_fits(rows)


def of_tasks(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """For each kind of task, a table of architectures by task and load, at the trained length."""
    tables = []
    for metric, phase, title in OF_TASKS:
        picked = of_metric(rows, metric, phase)
        if picked.empty:
            continue
        names = sorted(set(picked["arch"]))
        columns = {ARCH: names}
        budgets = picked.groupby(["task", "load", "seq_len"])["tokens"].transform("nunique")
        for _, column in picked.assign(several=budgets > 1).groupby(SETTING):
            cell = column.to_dict("records")[0]
            how = unusual(cell["mode"], cell["kernel"], cell["short_conv"], cell["ranks"])
            how += [f"{show_count(cell['tokens'])} tokens"] * cell["several"]
            heading = f"{cell['task']} {cell['load']}, at {show_length(cell['seq_len'])}"
            columns[", ".join([heading, *how])] = cells(column, names)
        tables.append((f"{title}, {METRICS[metric].better} is better", pd.DataFrame(columns)))
    return tables


def what_fits(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """For each phase, and memory it must fit into, a table of the largest batch and length."""
    limits = rows[rows["metric"].isin(["largest_batch", "greatest_length"])]
    tables = []
    for phase, found in limits.groupby("phase"):
        names = sorted(set(found["arch"]))
        columns = {ARCH: names}
        for _, column in found.groupby(["metric", *COLUMN], sort=False, observed=True):
            first = column.to_dict("records")[0]
            of_batch = first["metric"] == "largest_batch"
            where = f"at {show_length(first['seq_len'])}" if of_batch else "at batch 1"
            columns[f"{METRICS[first['metric']].label.lower()} {where}"] = cells(column, names)
        tables.append((f"Fits into memory: {phase}, found by bisection", pd.DataFrame(columns)))
    return tables


def markdown(table: pd.DataFrame) -> str:
    """A GitHub table, names to the left and numbers to the right."""
    rule = [":--", *["--:"] * (len(table.columns) - 1)]
    head, *lines = [list(table.columns), *table.to_numpy().tolist()]
    shown = [[inert.markdown(str(cell)) for cell in line] for line in (head, *lines)]
    return "".join("| " + " | ".join(line) + " |\n" for line in (shown[0], rule, *shown[1:]))
