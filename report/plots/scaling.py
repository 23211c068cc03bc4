"""IsoFLOP curves of each architecture, and the best size over the budget."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from report import scaling
from report.plots.drawing import Drawing
from report.plots.lines import arrange, fitted, handles, head
from report.plots.style import GREY, INK, Style, measure_axis, new_figure, paper
from report.plots.words import listed
from report.scaling import Reading
from report.units import show_count

CAPTION = (
    "Each curve is one budget of training FLOPs spent on models of several sizes, and a parabola "
    "through them; a ring marks its vertex where sizes on both sides of it were trained. Hollow "
    "points are the greatest budget, which the law beside was not fitted to and predicts: its "
    "prediction is dotted. Last, the best size over the budget: lines are powers through the "
    "optima. Sizes count all parameters, the embedding among them."
)


def _shade(i: int, count: int) -> tuple[float, float, float, float]:
    """The lighter, the smaller the budget; dark enough on white at either end."""
    return colormaps["viridis"](0.85 * (1 - i / max(1, count - 1)))


def _isoflop(axes: Axes, one: Reading) -> None:
    budgets = scaling.by_budget(one.points)
    params = [point.params for point in one.points]
    measure_axis(axes, "x", params, "parameters", pad=0.08)
    for i, (flops, some) in enumerate(budgets.items()):
        colour, last = _shade(i, len(budgets)), i == len(budgets) - 1
        x, y = [point.params for point in some], [point.nats for point in some]
        fill = "white" if last else colour
        axes.plot(x, y, "o", color=colour, markerfacecolor=fill, zorder=4)
        axes.plot([], [], "o-", color=colour, markerfacecolor=fill, label=f"{flops / 1e9:g} GFLOPs")
        curve = scaling.parabola(some)
        grid = np.geomspace(min(x), max(x), 60)
        if curve is not None:
            axes.plot(grid, np.polyval(curve, np.log(grid)), "-", color=colour, linewidth=1.2)
        if (best := scaling.optimum(some)) is not None:
            axes.plot(best.params, best.nats, "o", markersize=12, color=INK, markerfacecolor="none")
        if last:
            tokens = np.array([point.tokens for point in some], dtype=float)
            told = one.law.nats(np.array(x, dtype=float), tokens)
            axes.plot(x, told, ":", color=INK, linewidth=1.4, label="predicted by the law")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.set_xlabel("parameters")
    axes.set_ylabel("test nats a token, lower is better")
    head(
        axes,
        one.arch,
        fitted(axes, f"α {one.law.alpha:.2f}, β {one.law.beta:.2f}, E {one.law.E:.2f} nats"),
    )
    axes.legend(frameon=False, fontsize=8.5, loc="upper right")


def _best_sizes(axes: Axes, found: Sequence[Reading], looks: dict[str, Style]) -> None:
    best = {one.arch: scaling.optima(one.points) for one in found}
    every = [each for some in best.values() for each in some]
    if not every:
        axes.set_axis_off()
        axes.text(0, 0.5, "No budget's best size was bracketed.", color=GREY)
        return
    measure_axis(axes, "x", [float(each.flops) for each in every], "FLOPs", pad=0.15)
    measure_axis(axes, "y", [each.params for each in every], "parameters", pad=0.25)
    for arch, some in best.items():
        look = looks[arch]
        x, y = [float(each.flops) for each in some], [each.params for each in some]
        axes.plot(x, y, look.marker, color=look.colour, markeredgecolor="white")
        if len(x) > 1:
            slope, level = np.polyfit(np.log(x), np.log(y), 1)
            ends = [min(x), max(x)]
            line = [math.exp(level) * end**slope for end in ends]
            axes.plot(ends, line, look.line, color=look.colour)
    axes.set_xlabel("training FLOPs")
    axes.set_ylabel("best size, parameters")
    head(axes, "Best size over budget", "vertices of the parabolas")
    names = [arch for arch, some in best.items() if some]
    axes.legend(handles=handles(names, looks), frameon=False, loc="upper left")


def _numbers(found: Sequence[Reading]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "arch": point.arch,
                "flops": point.flops,
                "params": point.params,
                "tokens": point.tokens,
                "nats": point.nats,
            }
            for one in found
            for point in one.points
        ]
    )


@paper
def draw(found: Sequence[Reading], looks: dict[str, Style], stem: str, who: str) -> Drawing | None:
    """A panel for each architecture and one of their best sizes; None where there is no law."""
    if not found:
        return None
    columns = min(2, len(found) + 1)
    rows = -(-(len(found) + 1) // columns)
    figure = new_figure(6.6 * columns, 1.4 + 4.6 * rows)
    title = "What a budget of training FLOPs buys at each size"
    arrange(figure, f"{title} · {who}", "IsoFLOP curves; test loss on held-out text", columns)
    for i, one in enumerate(found):
        _isoflop(figure.add_subplot(rows, columns, i + 1), one)
    _best_sizes(figure.add_subplot(rows, columns, len(found) + 1), found, looks)
    said = [
        f"{one.arch} best at {show_count(round(best[-1].params))}"
        for one in found
        if (best := scaling.optima(one.points))
    ]
    return Drawing(
        stem=stem,
        title=title,
        caption=CAPTION,
        alt=f"Loss over size at several budgets. At the greatest bracketed: {listed(said)}.",
        figure=figure,
        data=_numbers(found),
    )
