"""Quality against cost, with the Pareto frontier dashed and whatever it beats faded."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from report.compare import QUALITY, Comparison
from report.plots.drawing import Drawing
from report.plots.labels import Label, Pixels, along, place
from report.plots.lines import arrange, head
from report.plots.style import GREY, INK, Style, measure_axis, new_figure, paper
from report.plots.words import absent, cost_setting, listed, quality_setting

CAPTION = (
    "Each point is one architecture. Up is better quality: the perplexity axis runs downwards. "
    "The dashed line is the Pareto frontier; a solid point lies on it, a faded point is beaten by "
    "another in both directions. Vertical bars are the lowest and highest seed, horizontal bars "
    "the middle half of the timed steps."
)


def _reach(point: dict[Hashable, Any], what: str) -> list[list[float]]:
    """How far the bars go down and up; a rounded mean may lie a hair outside its own range."""
    low, high = point[f"{what}_low"], point[f"{what}_high"]
    return [[max(0.0, point[what] - low)], [max(0.0, high - point[what])]]


def _scatter(axes: Axes, points: pd.DataFrame, looks: dict[str, Style]) -> None:
    for point in points.to_dict("records"):
        look, solid = looks[point["arch"]], point["on_frontier"]
        axes.errorbar(
            point["cost"],
            point["perplexity"],
            xerr=_reach(point, "cost"),
            yerr=_reach(point, "perplexity"),
            marker=look.marker,
            color=look.colour,
            markersize=10 if solid else 8,
            markeredgecolor="white",
            elinewidth=1,
            alpha=1 if solid else 0.45,
            zorder=4 if solid else 3,
        )


def _obstacles(axes: Axes, points: pd.DataFrame, frontier: pd.DataFrame) -> Pixels:
    """Pixels no label should cover: the markers, their error bars and the frontier."""

    def pixels(x: pd.Series, y: pd.Series) -> Pixels:
        return np.asarray(axes.transData.transform(np.column_stack([x, y])), dtype=float)

    centres = pixels(points["cost"], points["perplexity"])
    shifts = np.array([(dx, dy) for dx in (-9, -4, 0, 4, 9) for dy in (-9, -4, 0, 4, 9)])
    markers = (centres[:, None] + shifts).reshape(-1, 2)
    lefts = pixels(points["cost_low"], points["perplexity"])
    rights = pixels(points["cost_high"], points["perplexity"])
    tops = pixels(points["cost"], points["perplexity_low"])
    feet = pixels(points["cost"], points["perplexity_high"])
    ends = np.concatenate([np.stack([lefts, rights], axis=1), np.stack([tops, feet], axis=1)])
    bars = [along(bar) for bar in ends]
    line = along(pixels(frontier["cost"], frontier["perplexity"]))
    return np.concatenate([markers, line, *bars])


def _better(axes: Axes, higher: bool) -> Bbox:
    """Says in which corner the reader would like to be; returns the space that takes."""
    text = axes.text(
        0.985 if higher else 0.015,
        0.975,
        "better ↗" if higher else "↖ better",
        transform=axes.transAxes,
        ha="right" if higher else "left",
        va="top",
        color="#047857",
        fontsize=10,
        fontstyle="italic",
    )
    return text.get_window_extent()


def _panel(axes: Axes, comparison: Comparison, looks: dict[str, Style]) -> None:
    points, metric = comparison.points, comparison.panel.metric
    frontier = points[points["on_frontier"]].sort_values("cost")
    measure_axis(axes, "x", [*points["cost_low"], *points["cost_high"]], metric.unit, pad=0.16)
    losses = [*points["perplexity_low"], *points["perplexity_high"]]
    measure_axis(axes, "y", losses, QUALITY.unit, pad=0.16)
    axes.invert_yaxis()
    axes.plot(frontier["cost"], frontier["perplexity"], "--", color=INK, linewidth=1.2, zorder=2)
    _scatter(axes, points, looks)
    unit = f" ({metric.unit})" if metric.unit == "tokens/s" else ""
    axes.set_xlabel(f"{metric.label}{unit}, {metric.better} is better")
    axes.set_ylabel("Test perplexity (axis runs down: up is better)")
    note = "\n".join(filter(None, (cost_setting(comparison.cost), absent(comparison.absent))))
    head(axes, comparison.panel.name.capitalize(), note)
    labels = [
        Label(
            text=point["arch"],
            at=(point["cost"], point["perplexity"]),
            colour=INK if point["on_frontier"] else GREY,
            size=10 if point["on_frontier"] else 8.5,
            weight="bold" if point["on_frontier"] else "normal",
        )
        for point in points.sort_values("on_frontier", ascending=False).to_dict("records")
    ]
    corner = _better(axes, higher=metric.better == "higher")
    place(axes, labels, _obstacles(axes, points, frontier), [corner])


@paper
def draw(
    found: Sequence[Comparison], looks: dict[str, Style], stem: str, who: str
) -> Drawing | None:
    """The panels of `found` in one figure, two in a row."""
    if not found:
        return None
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure = new_figure(7.2 * columns if columns > 1 else 5.8, 5.6 * rows + 0.8)
    data = pd.concat([comparison.points for comparison in found], ignore_index=True)
    what = listed([comparison.panel.name for comparison in found])
    title = f"Quality against {what if len(found) == 1 else 'cost'}"
    subtitle = quality_setting(found[0].quality, data["seeds"])
    arrange(figure, f"{title} · {who}", subtitle, columns)
    # labels are placed in pixels, so the panels must have their final place first
    for i, comparison in enumerate(found):
        _panel(figure.add_subplot(rows, columns, i + 1), comparison, looks)
    ahead = [f"{comparison.panel.name}: {listed(comparison.leaders)}" for comparison in found]
    return Drawing(
        stem=stem,
        title=title,
        caption=CAPTION,
        alt=f"Test perplexity against {what}. On the frontier: {'; '.join(ahead)}.",
        figure=figure,
        data=data,
    )
