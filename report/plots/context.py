"""How far back a model can use text: loss at contexts it was and was not trained at."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from report.choice import Chosen, Setting, setting_of
from report.losses import bits_per_byte, perplexity
from report.plots.drawing import Drawing
from report.plots.lines import arrange, head, legend, lines
from report.plots.style import GREY, Style, length_axis, measure_axis, new_figure, paper
from report.plots.words import budget
from report.units import show_length

CAPTION = (
    "Left: the same trained model read in windows of other lengths; the dashed line is the trained "
    "length. Right: loss by position inside the longest window; a model that uses its "
    "past keeps falling. Bars are the lowest and highest seed."
)


def _of_setting(chosen: Sequence[Chosen], setting: Setting) -> Iterator[Chosen]:
    for pick in chosen:
        if setting_of(pick.record.case) == setting and pick.record.status == "ok":
            yield pick


def _by_context(pick: Chosen) -> Iterator[dict[str, Any]]:
    for test in pick.record.evaluations:
        if test.split == "test" and (value := perplexity(test)) is not None:
            rate = bits_per_byte(test)
            yield {"context": test.context, "perplexity": value, "bits_per_byte": rate}


def _by_position(pick: Chosen) -> Iterator[dict[str, Any]]:
    for test in pick.record.evaluations:
        if test.split != "test":
            continue
        # the one target after the whole window is too few to stand alone: it joins the last bin
        starts = [start for start in test.position_edges if start < test.context]
        for i, (start, end) in enumerate(pairwise([*starts, test.context])):
            own = slice(i, None if end == test.context else i + 1)
            nats, tokens = sum(test.nats[own]), sum(test.tokens[own])
            if tokens:
                yield {"context": test.context, "start": start, "end": end, "nats": nats / tokens}


def _over_seeds(rows: list[dict[str, Any]], value: str) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    keys = [name for name in ("label", "size", "arch", "context", "start", "end") if name in frame]
    grouped = frame.groupby(keys, as_index=False)
    named = {value: (value, "mean"), "low": (value, "min"), "high": (value, "max")}
    if "bits_per_byte" in frame:
        named["bits_per_byte"] = ("bits_per_byte", "mean")
    return grouped.agg(**named, seeds=(value, "count"))


def _rows(
    chosen: Sequence[Chosen], read: Callable[[Chosen], Iterator[dict[str, Any]]]
) -> list[dict[str, Any]]:
    return [
        {"label": p.record.label, "size": p.record.case.size, "arch": p.record.case.arch, **row}
        for p in chosen
        for row in read(p)
    ]


def _contexts(axes: Axes, rows: pd.DataFrame, setting: Setting, looks: dict[str, Style]) -> None:
    length_axis(axes, rows["context"])
    measure_axis(axes, "y", [*rows["low"], *rows["high"]], "perplexity", pad=0.08)
    axes.axvline(setting.seq_len, color=GREY, linewidth=1, linestyle="--", zorder=1)
    lines(axes, rows, "context", "perplexity", looks)
    axes.set_xlabel("evaluation context (tokens)")
    axes.set_ylabel("test perplexity, lower is better")
    note = f"dashed: the trained length, {show_length(setting.seq_len)}"
    head(axes, "Test perplexity by context", note)


def _positions(
    axes: Axes, rows: pd.DataFrame, without: Sequence[str], looks: dict[str, Style]
) -> None:
    longest = rows["context"].iloc[0]
    # the first bin starts at 0, which a log axis does not have
    rows = rows.assign(middle=(rows["start"].clip(lower=1) * rows["end"]) ** 0.5)
    measure_axis(axes, "y", [*rows["low"], *rows["high"]], "perplexity", pad=0.08)
    edges = sorted({*rows["start"].clip(lower=1), *rows["end"]})
    length_axis(axes, edges, room=1.1)
    lines(axes, rows, "middle", "nats", looks)
    axes.set_xlabel("tokens already read in the window")
    axes.set_ylabel("loss (nats per token), lower is better")
    note = f"in windows of {show_length(longest)} tokens"
    note += f" · not read: {', '.join(without)}" if without else ""
    head(axes, "Test loss by position", note)


@paper
def draw(
    chosen: Sequence[Chosen], setting: Setting | None, looks: dict[str, Style], stem: str, who: str
) -> Drawing | None:
    """Loss by context and, inside the longest context, by position."""
    picked = list(_of_setting(chosen, setting)) if setting else []
    by_context = _rows(picked, _by_context)
    if setting is None or not by_context:
        return None
    contexts = _over_seeds(by_context, "perplexity")
    positions = _over_seeds(_rows(picked, _by_position), "nats")
    positions = positions[positions["context"] == positions["context"].max()]
    figure = new_figure(14.4, 5.6)
    grid = figure.add_gridspec(1, 3, width_ratios=(1, 1, 0.4))
    title = "Quality against context"
    subtitle = f"after {budget(setting)} of {setting.corpus}"
    arrange(figure, f"{title} · {who}", subtitle, 3)
    names = sorted(set(contexts["arch"]))
    without = sorted(set(names) - set(positions["arch"]))
    _contexts(figure.add_subplot(grid[0]), contexts, setting, looks)
    _positions(figure.add_subplot(grid[1]), positions, without, looks)
    legend(figure.add_subplot(grid[2]), names, looks)
    return Drawing(
        stem=stem,
        title=title,
        caption=CAPTION,
        alt=f"Test perplexity by context length and loss by position for {', '.join(names)}.",
        figure=figure,
        data=pd.concat(
            [contexts.assign(panel="context"), positions.assign(panel="position")],
            ignore_index=True,
        ),
    )
