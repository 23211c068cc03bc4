"""Figures as wide as a journal's column: the same panels, at the size they are printed.

Here a colour and a kind of marker say the family, read from the ops that ran, the same on all
figures of a report; marker and line tell the architectures of a family apart.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.attainment import Attained
from report.claims.evidence import Evidence, Family, family
from report.crossovers import Contest
from report.plots import frontier, length
from report.plots.lines import fitted, handles, legend
from report.plots.style import LINES, Style, in_print, new_figure
from report.plots.words import cost_setting

Column = Literal["single", "double"]
WIDTHS: dict[Column, float] = {"single": 3.3, "double": 6.9}  # inches
LEFT, RIGHT, ABOVE, BELOW, PANEL = 0.62, 0.22, 0.56, 0.44, 1.9  # inches, of each panel
ENTRY = 0.15  # of a line of the legend
COLOURS: dict[Family | None, str] = {
    "attention": "#0072B2",
    "window": "#56B4E9",
    "both": "#CC79A7",
    "scan": "#009E73",
    "convolution": "#E69F00",
    "nonlinear": "#D55E00",
    None: "#000000",  # no Record says which ops ran
}
MARKERS: dict[Family | None, str] = {
    "attention": "shP",
    "window": "8",
    "both": "D*",
    "scan": "^v<>",
    "convolution": "H",
    "nonlinear": "opd",
    None: "X",
}

FAMILIES = (
    "Blue is attention, light blue attention to a window, green a scan, pink attention and a scan, "
    "yellow a long convolution, orange a recurrence taken step by step."
)
Panel = Callable[[Axes], None]


def looks(every: Sequence[Evidence]) -> dict[str, Style]:
    ops: dict[str, set[str]] = {}
    for evidence in every:
        for record in evidence.records:
            ops.setdefault(record.case.arch, set()).update(evidence.ops.get(record.case.arch, ()))
    members: dict[Family | None, list[str]] = {}
    for arch in sorted(ops):
        members.setdefault(family(ops[arch]) if ops[arch] else None, []).append(arch)
    return {
        arch: Style(
            colour=COLOURS[of],
            marker=MARKERS[of][i % len(MARKERS[of])],
            line=LINES[i % len(LINES)],
        )
        for of, names in members.items()
        for i, arch in enumerate(names)
    }


@in_print
def figure(
    panels: Sequence[Panel], column: Column, names: Sequence[str], styles: dict[str, Style]
) -> Figure:
    """`panels` in rows as wide as the column; a legend of `names` in a free cell or beneath."""
    width, across = WIDTHS[column], min(len(panels), {"single": 1, "double": 2}[column])
    rows, entries = -(-len(panels) // across), {"single": 3, "double": 6}[column]
    free = len(panels) < rows * across
    bottom = BELOW + ENTRY * -(-len(names) // entries) * (not free)
    height = rows * (ABOVE + PANEL) + (rows - 1) * BELOW + bottom
    drawn = new_figure(width, height)
    drawn.subplots_adjust(
        left=LEFT / width,
        right=1 - RIGHT / width,
        top=1 - ABOVE / height,
        bottom=bottom / height,
        hspace=(ABOVE + BELOW) / PANEL,
        wspace=(LEFT + RIGHT) / ((width - across * LEFT - across * RIGHT) / across),
    )
    for i, panel in enumerate(panels):
        panel(drawn.add_subplot(rows, across, i + 1))
    if names and free:
        legend(drawn.add_subplot(rows, across, rows * across), names, styles)
    elif names:
        drawn.legend(
            handles=handles(names, styles),
            loc="lower center",
            ncols=entries,
            frameon=False,
            handlelength=2.6,
            columnspacing=1.2,
            borderaxespad=0.1,
            labelspacing=0.15,
        )
    return drawn


def of_frontier(found: Attained, styles: dict[str, Style]) -> Panel:
    """Named points and the dashed frontier; who is absent stands in the caption."""

    def draw(axes: Axes) -> None:
        frontier.panel(axes, found, styles, fitted(axes, cost_setting(found.comparison.cost)))

    return draw


def of_lengths(
    evidence: Evidence, told: Sequence[Contest], styles: dict[str, Style]
) -> list[tuple[str, Panel]]:
    """What each cost is called, and the panel of it."""

    def draws(*given: object) -> Panel:
        return lambda axes: length.panel(axes, *given)  # type: ignore[arg-type]

    return [
        (
            metric.label,
            draws(rows, metric, phase, styles, length.crossings(told, metric, phase)),
        )
        for metric, phase, rows in length.panels(evidence.rows)
        if metric.unit != "fraction"
    ]
