"""Quality against cost, with the Pareto frontier dashed and whatever it beats faded."""

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

from report.attainment import LEVELS, Attained
from report.compare import QUALITY
from report.frontier import Better
from report.plots.drawing import Drawing
from report.plots.labels import Label, Pixels, along, place
from report.plots.lines import arrange, head
from report.plots.style import GREY, INK, SMALL, Style, measure_axis, new_figure, paper
from report.plots.words import absent, cost_setting, listed, quality_setting
from report.statistics import Floats

CAPTION = (
    "Each point is one architecture. Up is better quality: the perplexity axis runs downwards. "
    "The dashed stairs are the Pareto frontier, all that some point attains lying below them; a "
    "solid point is one of their corners, a faded point is beaten by another in both directions. "
    "Vertical bars are the lowest and highest seed, horizontal bars the middle half of the timed "
    "steps. "
)
BANDS = {
    False: "Tinted is where the frontier lies if seeds and steps are redrawn, in 95 % of cases.",
    True: (
        "Tinted is where the frontier lies if the timed steps are redrawn, in 95 % of cases; with "
        "one seed nothing says how sure the perplexities are, and the band is too narrow."
    ),
}
BAND = "#0072B2"


def _reach(point: dict[Hashable, Any], what: str) -> list[list[float]]:
    """How far the bars go down and up; a rounded mean may lie a hair outside its own range."""
    low, high = point[f"{what}_low"], point[f"{what}_high"]
    return [[max(0.0, point[what] - low)], [max(0.0, high - point[what])]]


def scatter(axes: Axes, points: pd.DataFrame, looks: dict[str, Style]) -> None:
    for point in points.to_dict("records"):
        look, solid = looks[point["arch"]], point["on_frontier"]
        axes.errorbar(
            point["cost"],
            point["perplexity"],
            xerr=_reach(point, "cost"),
            yerr=_reach(point, "perplexity"),
            marker=look.marker,
            color=look.colour,
            markersize=rcParams["lines.markersize"] * (1.5 if solid else 1.2),
            markeredgecolor="white",
            elinewidth=1,
            alpha=1 if solid else 0.45,
            zorder=4 if solid else 3,
        )


def _stairs(corners: Floats, costs: Floats, better: Better, worst: float) -> Floats:
    """The best perplexity that a corner no dearer than each of `costs` attains; else `worst`."""
    sign = 1 if better == "lower" else -1
    reached = sign * corners[:, 0] <= sign * costs[:, None]
    return np.asarray(np.where(reached, corners[:, 1], worst).min(axis=1))


def _draw_frontier(axes: Axes, found: Attained, corners: Floats) -> Floats:
    """The dashed stairs through `corners` and the band about them; returns the stairs' path."""
    better = found.comparison.panel.metric.better
    step: Literal["post", "pre"] = "post" if better == "lower" else "pre"
    edges, worst = np.array(axes.get_xlim()), max(axes.get_ylim())
    best, low = (found.surfaces[level] for level in LEVELS)
    costs = np.unique(np.concatenate([best[:, 0], low[:, 0], corners[:, 0], edges]))
    costs = costs[(edges[0] <= costs) & (costs <= edges[1])]
    upper, lower = (_stairs(surface, costs, better, worst) for surface in (best, low))
    axes.fill_between(costs, upper, lower, step=step, color=BAND, alpha=0.13, lw=0, zorder=1)
    middle = _stairs(corners, costs, better, worst)
    ahead = middle < worst
    path = np.column_stack([costs[ahead], middle[ahead]])
    # from the cheapest point straight down
    foot, end = [[path[0, 0], worst]], [[path[-1, 0], worst]]
    path = np.concatenate([foot, path] if better == "lower" else [path, end])
    axes.step(path[:, 0], path[:, 1], "--", where=step, color=INK, linewidth=1.2, zorder=2)
    return path


def _obstacles(axes: Axes, points: pd.DataFrame, frontier: Floats) -> Pixels:
    """Pixels no label should cover: the markers, their error bars and the frontier."""

    def pixels(x: pd.Series | Floats, y: pd.Series | Floats) -> Pixels:
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
    line = along(pixels(frontier[:, 0], frontier[:, 1]))
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
        fontstyle="italic",
    )
    extent = text.get_window_extent()
    return extent.padded(extent.height / 2)


def panel(axes: Axes, found: Attained, looks: dict[str, Style], note: str) -> None:
    """One cost; the axes must have their final place, as labels are placed in pixels."""
    comparison = found.comparison
    points, metric = comparison.points, comparison.panel.metric
    frontier = points[points["on_frontier"]].sort_values("cost")
    measure_axis(axes, "x", [*points["cost_low"], *points["cost_high"]], metric.unit, pad=0.16)
    losses = [*points["perplexity_low"], *points["perplexity_high"]]
    measure_axis(axes, "y", losses, QUALITY.unit, pad=0.16)
    axes.invert_yaxis()
    corners = frontier[["cost", "perplexity"]].to_numpy(float)
    stairs = _draw_frontier(axes, found, corners)
    scatter(axes, points, looks)
    unit = f" ({metric.unit})" if metric.unit == "tokens/s" else ""
    axes.set_xlabel(f"{metric.label}{unit}, {metric.better} is better")
    axes.set_ylabel("Test perplexity, up is better")
    head(axes, comparison.panel.name.capitalize(), note)
    labels = [
        Label(
            text=point["arch"],
            at=(point["cost"], point["perplexity"]),
            colour=INK if point["on_frontier"] else GREY,
            size=rcParams["font.size"] * (1 if point["on_frontier"] else SMALL),
            weight="bold" if point["on_frontier"] else "normal",
        )
        for point in points.sort_values("on_frontier", ascending=False).to_dict("records")
    ]
    corner = _better(axes, higher=metric.better == "higher")
    place(axes, labels, _obstacles(axes, points, stairs), [corner])


def _numbers(found: Sequence[Attained]) -> pd.DataFrame:
    """The points of each panel, then the corners of its band."""
    points = [one.comparison.points for one in found]
    bands = [
        pd.DataFrame(corners, columns=["cost", "perplexity"]).assign(
            panel=f"{one.comparison.panel.name}: band, {level}",
            unit=one.comparison.panel.metric.unit,
        )
        for one in found
        for level, corners in one.surfaces.items()
    ]
    return pd.concat([*points, *bands], ignore_index=True)


@paper
def draw(found: Sequence[Attained], looks: dict[str, Style], stem: str, who: str) -> Drawing | None:
    """The panels of `found` in one figure, two in a row."""
    if not found:
        return None
    columns = min(2, len(found))
    rows = -(-len(found) // columns)
    figure = new_figure(7.2 * columns if columns > 1 else 5.8, 5.6 * rows + 0.8)
    shown = [one.comparison for one in found]
    seeds = pd.concat([comparison.points["seeds"] for comparison in shown])
    what = listed([comparison.panel.name for comparison in shown])
    title = f"Quality against {what if len(found) == 1 else 'cost'}"
    subtitle = quality_setting(shown[0].quality, seeds)
    arrange(figure, f"{title} · {who}", subtitle, columns)
    for i, one in enumerate(found):
        missing = absent(one.comparison.absent)
        note = "\n".join(filter(None, (cost_setting(one.comparison.cost), missing)))
        panel(figure.add_subplot(rows, columns, i + 1), one, looks, note)
    ahead = [f"{comparison.panel.name}: {listed(comparison.leaders)}" for comparison in shown]
    return Drawing(
        stem=stem,
        title=title,
        caption=CAPTION + BANDS[min(one.seeds for one in found) < 2],
        alt=f"Test perplexity against {what}. On the frontier: {'; '.join(ahead)}.",
        figure=figure,
        data=_numbers(found),
    )
