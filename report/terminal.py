"""The report in one terminal window: quality, four costs, and who leads where."""

from typing import Literal

import pandas as pd
from rich import box
from rich.table import Table
from rich.text import Text

from report import peers
from report.build import Section
from report.summary import ARCH, LOSS, NOTHING, PanelCosts
from report.units import show_length

EXPLANATION = "below each cost: length × batch; *: on its Pareto frontier with perplexity"


def _heading(costs: PanelCosts) -> str:
    unit = "tok/s" if costs.panel.metric.unit == "tokens/s" else ""
    where = f"{show_length(costs.setting.seq_len)} × {costs.setting.batch}"
    return "\n".join(part for part in (costs.panel.short, unit, where) if part)


def table(section: Section) -> Table:
    """A line for each architecture, a star on each cost in which it is on the frontier."""
    names, costs = section.summary[ARCH], section.costs
    quality = section.summary.get(LOSS, [NOTHING] * len(names))
    shown = Table(
        title=Text(section.title, style="bold"),
        caption=EXPLANATION if costs else None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    leaders = {comparison.panel.name: comparison.leaders for comparison in section.found}
    shown.add_column("architecture", vertical="bottom", no_wrap=True)
    for heading in ("test\nperplexity", *map(_heading, costs)):
        shown.add_column(heading, justify="right", no_wrap=True)
    for name, loss in zip(names, quality, strict=True):
        marked = [
            cost.cells[name] + (" *" if name in leaders.get(cost.panel.name, []) else "  ")
            for cost in costs
        ]
        shown.add_row(*map(Text, (name, loss, *marked)))
    return shown


def words(section: Section) -> list[Text]:
    return [Text(f"· {sentence}") for sentence in section.words]


def peers_table(ratios: pd.DataFrame) -> Table:
    """Two lines for each pair, so that it fits into 80 columns."""
    shown = Table(
        padding=(0, 1, 0, 0),
        pad_edge=False,
        title=Text(peers.TITLE, style="bold"),
        caption=peers.EXPLANATION,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    cells = peers.text(ratios)
    for heading in cells.columns:
        side: Literal["left", "right"] = "left" if heading in peers.NAMES else "right"
        shown.add_column(heading.replace(" ", "\n"), justify=side)
    for line in cells.to_dict("records"):
        broken = {name: line[name].replace(" ", "\n") for name in peers.BROKEN}
        shown.add_row(*map(Text, (line | broken).values()))
    return shown
