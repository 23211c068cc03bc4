"""The parts that figures share: lines with spread, panel heads, the legend's cell."""

import textwrap
from collections.abc import Sequence

import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from report.plots.style import GREY, Style


def lines(axes: Axes, rows: pd.DataFrame, x: str, y: str, looks: dict[str, Style]) -> None:
    """One line for each architecture, with a thin bar from `low` to `high` at each point."""
    for arch, line in rows.sort_values(x).groupby("arch"):
        look = looks[str(arch)]
        axes.errorbar(
            line[x],
            line[y],
            yerr=[(line[y] - line["low"]).clip(lower=0), (line["high"] - line[y]).clip(lower=0)],
            color=look.colour,
            marker=look.marker,
            linestyle=look.line,
            elinewidth=0.9,
            markeredgecolor="white",
            markeredgewidth=0.6,
        )


def head(axes: Axes, title: str, note: str) -> None:
    size = rcParams["xtick.labelsize"]
    pad = size * (0.9 + 1.33 * (note.count("\n") + bool(note)))
    axes.set_title(title, loc="left", fontweight="bold", pad=pad)
    axes.annotate(
        note,
        (0, 1),
        xytext=(0, 0.4 * size),
        xycoords="axes fraction",
        textcoords="offset points",
        fontsize=size,
        color=GREY,
        va="bottom",
    )


def fitted(axes: Axes, note: str) -> str:
    """`note` in lines no longer than the axes are wide."""
    width_pt = 72 * axes.get_window_extent().width / axes.figure.dpi
    # a letter of DejaVu Sans is 0.6 times as wide as its size in the mean
    return textwrap.fill(note, max(12, int(width_pt / (0.6 * rcParams["xtick.labelsize"]))))


def handles(names: Sequence[str], looks: dict[str, Style]) -> list[Line2D]:
    return [
        Line2D(
            [],
            [],
            color=look.colour,
            marker=look.marker,
            linestyle=look.line,
            label=name,
        )
        for name in names
        for look in [looks[name]]
    ]


def legend(axes: Axes, names: Sequence[str], looks: dict[str, Style]) -> None:
    """Which look is whose, alone in its own cell."""
    axes.set_axis_off()
    axes.legend(
        handles=handles(names, looks),
        loc="upper left",
        ncols=1 + (len(names) > 12),
        frameon=False,
        handlelength=3,
        borderaxespad=0,
        title="architecture",
        alignment="left",
    )


def arrange(figure: Figure, title: str, subtitle: str, columns: int) -> None:
    """Room for the panels' own text, and the figure's title where the first panel begins."""
    width, height = figure.get_size_inches()
    # an inch holds about 7 characters of a title and 12 of a subtitle
    named, said = textwrap.fill(title, int(7 * width)), textwrap.fill(subtitle, int(12 * width))
    below = 0.26 + 0.3 * (1 + named.count("\n"))
    left, top = 0.85 / width, below + 0.6 + 0.2 * (1 + said.count("\n")) * bool(said)
    figure.subplots_adjust(
        left=left,
        right=1 - 0.2 / width,
        bottom=0.6 / height,
        top=1 - top / height,
        hspace=0.36,
        wspace=0.06 + 0.06 * columns,
    )
    figure.text(left, 1 - 0.2 / height, named, fontsize=15, fontweight="bold", va="top")
    figure.text(left, 1 - below / height, said, fontsize=10, color=GREY, va="top")
