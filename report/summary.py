"""Tables for people: text in every cell, and a failure named where there is no number."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from report.choice import Setting, common_setting, within
from report.compare import FAILURES, PANELS, QUALITY, Comparison, Panel, trained_setting
from report.metrics import METRICS
from report.table import of_metric
from report.units import show, show_length

NOTHING = "–"
ARCH = "architecture"
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
    ("matmul_fraction", "train", "Training: share of the measured matmul ceiling"),
    ("matmul_fraction", "prefill", "Prefill: share of the measured matmul ceiling"),
)


def _cell(rows: pd.DataFrame) -> str:
    if rows.empty:
        return NOTHING
    row = rows.iloc[0]
    return show(row["value"], row["unit"]) if row["status"] == "ok" else FAILURES[row["status"]]


def cells(rows: pd.DataFrame, names: Sequence[str]) -> list[str]:
    return [_cell(rows[rows["arch"] == name]) for name in names]


def _rates(quality: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """The learning rate validation chose, marked where a better one may lie outside those tried."""
    by_name = {row["arch"]: row for row in quality.to_dict("records")}
    return [
        by_name[name]["lr"] + " (edge)" * by_name[name]["lr_at_edge"]
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


def summary(rows: pd.DataFrame, found: Sequence[Comparison]) -> pd.DataFrame:
    """One line for each architecture, in the settings of the frontier figure."""
    names = sorted(set(rows["arch"]))
    columns = {ARCH: names}
    columns["parameters"] = cells(of_metric(rows, "parameters").dropna(subset=["value"]), names)
    trained = trained_setting(rows)
    if trained is not None:
        quality = within(of_metric(rows, QUALITY.name), trained)
        columns["test perplexity"] = cells(quality, names)
        bits = within(of_metric(rows, "bits_per_byte"), trained)
        columns["test bits/byte"] = cells(bits, names)
        columns["learning rate"] = _rates(quality, names)
        seeds = dict(zip(quality["arch"], quality["seeds"], strict=True))
        columns["seeds"] = [str(seeds.get(name, NOTHING)) for name in names]
    for costs in panel_costs(rows, found):
        unit = " (tokens/s)" if costs.panel.metric.unit == "tokens/s" else ""
        columns[f"{costs.panel.name}{unit}, {_at(costs.setting)}"] = list(costs.cells.values())
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
        picked = of_metric(rows, metric, phase)
        if picked.empty:
            continue
        names = sorted(set(picked["arch"]))
        columns = {ARCH: names}
        several = picked["dtype"].nunique() > 1
        for _, column in picked.groupby(["seq_len", "batch", "dtype"]):
            cell = column.to_dict("records")[0]
            heading = f"{show_length(cell['seq_len'])} × {cell['batch']}"
            heading += f" {cell['dtype']}" * several
            columns[heading] = cells(column, names)
        better = METRICS[metric].better
        tables.append((f"{title}, {better} is better", pd.DataFrame(columns)))
    return tables


def markdown(table: pd.DataFrame) -> str:
    """A GitHub table, names to the left and numbers to the right."""
    rule = [":--", *["--:"] * (len(table.columns) - 1)]
    lines = [list(table.columns), rule, *table.to_numpy().tolist()]
    return "".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )
