"""Gaps filled and sections told: one trunk trained in several ways, and others, side by side."""

from collections.abc import Sequence
from functools import partial
from statistics import fmean

import pandas as pd
from matplotlib.axes import Axes

from report import infill
from report.infill import Trained, Value
from report.plots.drawing import Drawing
from report.plots.lines import arrange, head
from report.plots.style import GREY, Style, new_figure, paper
from report.plots.words import listed

CAPTION = (
    "Every model was trained on the same windows for as many steps. Gaps in held-out windows are "
    "filled from left to right with the likeliest token: a model trained on masked tokens sees "
    "both sides, one trained on the next token the side before. Sections: a linear reader of the "
    "frozen states says which of equal sections of the training text a block is from; hollow "
    "points are the trunk before its first step, the line is chance. Bars: two sigma over seeds."
)


def _panels(found: Sequence[Trained]) -> list[tuple[str, str, Value]]:
    gaps: list[tuple[str, str, Value]] = [
        (
            f"Gaps of {length} {'token' if length == 1 else 'tokens'}",
            "tokens right",
            partial(infill.tokens_right, length=length),
        )
        for length in infill.lengths(found)
    ]
    return [*gaps, ("Section of the text", "blocks right", infill.sections_right)]


def _name(one: Trained) -> str:
    return f"{one.arch}, {one.objective}"


def _points(axes: Axes, found: Sequence[Trained], value: Value, looks: dict[str, Style]) -> None:
    for row, one in enumerate(found):
        known, interval = list(one.by_seed(value).values()), infill.spread(one, value)
        if not known:
            continue
        look, middle = looks[one.arch], 100 * fmean(known)
        half = 0.0 if interval is None else 100 * (interval.high - interval.value)
        axes.errorbar(middle, row, xerr=half, fmt=look.marker, color=look.colour, elinewidth=1.2)
    axes.set_ylim(len(found) - 0.5, -0.5)
    axes.set_yticks(range(len(found)), list(map(_name, found)))
    axes.set_xlabel("%, higher is better")


def _floor(axes: Axes, found: Sequence[Trained], looks: dict[str, Style]) -> None:
    """Chance, and what the trunks say before their first step."""
    sections = {p.sections for one in found for r in one.records for p in r.linear_probes}
    for count in sections:
        axes.axvline(100 / count, color=GREY, linewidth=1, linestyle=":")
    for row, one in enumerate(found):
        known, look = list(one.by_seed(infill.untrained).values()), looks[one.arch]
        if known:
            at = 100 * fmean(known)
            axes.plot(at, row, look.marker, color=look.colour, markerfacecolor="white")


def _numbers(found: Sequence[Trained]) -> pd.DataFrame:
    told = [(what, value) for what, _, value in _panels(found)]
    told.append(("Section of the text, untrained", infill.untrained))
    return pd.DataFrame(
        [
            {"arch": one.arch, "masked": one.masked, "asked": what, "seed": seed, "right": share}
            for one in found
            for what, value in told
            for seed, share in sorted(one.by_seed(value).items())
        ]
    )


@paper
def draw(found: Sequence[Trained], looks: dict[str, Style], stem: str, who: str) -> Drawing | None:
    """A panel for each length of gap and one of the probe; None where nothing was trained."""
    if not found:
        return None
    panels = _panels(found)
    figure = new_figure(2.2 + 3.2 * len(panels), 1.9 + 0.34 * len(found))
    title = "Filling in against going on"
    arrange(figure, f"{title} · {who}", "the same trunk and windows within an architecture", 1)
    figure.subplots_adjust(left=2.0 / figure.get_size_inches()[0])
    first = None
    for i, (what, unit, value) in enumerate(panels):
        axes = figure.add_subplot(1, len(panels), i + 1, sharey=first)
        _points(axes, found, value, looks)
        head(axes, what, unit)
        if first is None:
            first = axes
        else:
            axes.tick_params(labelleft=False)
    _floor(axes, found, looks)
    said = [
        f"{_name(one)} {100 * fmean(known):.0f} %"
        for one in found
        if (known := list(one.by_seed(panels[0][2]).values()))
    ]
    return Drawing(
        stem=stem,
        title=title,
        caption=CAPTION,
        alt=f"{panels[0][0]}, tokens right: {listed(said)}.",
        figure=figure,
        data=_numbers(found),
    )
