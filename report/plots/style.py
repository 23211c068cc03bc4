"""What all figures share: type, colour-blind-safe colours, axes that read in human units."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import ceil, floor, log
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.scale import SymmetricalLogScale
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from report.units import show_length, show_tick

# Okabe and Ito's palette without its yellow, which white paper swallows
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9")
# eleven shapes and seven colours share no factor, so the first 77 pairs are distinct; crosses are
# left to what failed
MARKERS = ("o", "s", "^", "D", "v", "P", "<", ">", "p", "h", "*")
LINES: tuple[Literal["-", "--", "-."], ...] = ("-", "--", "-.")
GREY, INK = "#6b7280", "#1f2937"
PAPER: dict[Any, Any] = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "axes.titlesize": 11.5,
    "legend.fontsize": 11,
    "lines.linewidth": 1.6,
    "lines.markersize": 6.5,
    # the same numbers give the same bytes
    "svg.hashsalt": "seqfrontier",
    "pdf.fonttype": 42,  # TrueType, which publishers ask for
}
paper = matplotlib.rc_context(PAPER)
SMALL = 0.85  # of the font size: what is said in passing
# at the size of print, where the smallest type is 7 points
PRINT: dict[Any, Any] = PAPER | {
    "font.size": 8.3,
    "axes.labelsize": 8.3,
    "xtick.labelsize": 7.1,
    "ytick.labelsize": 7.1,
    "axes.titlesize": 8.3,
    "legend.fontsize": 7.6,
    "lines.linewidth": 1.1,
    "lines.markersize": 5.2,
    "axes.linewidth": 0.6,
    "grid.linewidth": 0.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}
in_print = matplotlib.rc_context(PRINT)


@dataclass(frozen=True, kw_only=True)
class Style:
    colour: str
    marker: str
    line: Literal["-", "--", "-."]


def styles(names: Iterable[str]) -> dict[str, Style]:
    """A look for each name, by its place in the alphabet of those present."""
    return {
        name: Style(
            colour=COLOURS[i % len(COLOURS)],
            marker=MARKERS[i % len(MARKERS)],
            line=LINES[i // len(COLOURS) % len(LINES)],
        )
        for i, name in enumerate(sorted(set(names)))
    }


def new_figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=160)
    FigureCanvasAgg(figure)
    return figure


def ticks(low: float, high: float, base: int, most: int = 6) -> list[float]:
    """Round numbers between two positive bounds, few enough to be read apart on a log axis."""
    for stride in range(1, 30):
        first, last = ceil(log(low, base) / stride), floor(log(high, base) / stride)
        powers = [float(base) ** (stride * k) for k in range(first, last + 1)]
        if len(powers) <= most:
            break
    if len(powers) >= 3:
        return powers
    if base == 10:
        decades = range(floor(log(low, 10)), ceil(log(high, 10)) + 1)
        halves = [m * 10.0**k for k in decades for m in (1, 2, 5) if low <= m * 10.0**k <= high]
        if len(halves) >= 3:
            return halves
    # in the unit of the higher end, so that the steps are round there too
    prefix = 1024 if base == 2 else 1000
    unit = float(prefix) ** floor(log(high, prefix))
    even = MaxNLocator(nbins=most - 1, steps=[1, 2, 2.5, 5, 10])
    steps = even.tick_values(low / unit, high / unit)
    return [step * unit for step in steps if low <= step * unit <= high]


def measure_axis(axes: Axes, which: str, values: Sequence[float], unit: str, pad: float) -> None:
    """Scale, limits and ticks of a log axis that holds `values`, with a place for any zero."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    positive = [value for value in values if value > 0] or [1.0]
    low, high = min(positive), max(positive)
    room = max(high / low, 1.1) ** pad
    places = ticks(low / room, high * room, 2 if unit == "bytes" else 10)
    if len(positive) < len(values):
        axes.set(**{f"{which}scale": SymmetricalLogScale(axis, linthresh=low)})
        axes.set(**{f"{which}lim": (-low / 2, high * room)})
        places = [0.0, *(place for place in places if low <= place <= max(values) * room)]
    else:
        axes.set(**{f"{which}scale": "log", f"{which}lim": (low / room, high * room)})
    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: show_tick(value, unit)))


def length_axis(axes: Axes, lengths: Iterable[int], room: float = 1.25) -> None:
    """A log axis whose ticks are the lengths that were measured."""
    shown = sorted(set(lengths))
    axes.set(xscale="log", xlim=(shown[0] / room, shown[-1] * room))
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show_length(round(value))))
