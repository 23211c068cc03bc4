"""What each architecture costs as the sequence grows, and where it stops fitting."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib import rcParams
from matplotlib.axes import Axes

from report.choice import one_batch_per_length, unusual
from report.compare import FAILURES
from report.crossovers import Contest, Crossing
from report.metrics import METRICS, Metric
from report.plots.drawing import Drawing
from report.plots.lines import arrange, fitted, head, legend, lines
from report.plots.style import GREY, INK, SMALL, Style, length_axis, measure_axis, new_figure, paper
from report.plots.words import batches, listed, named
from report.table import of_metric

PANELS = (
    (METRICS["train_throughput"], "train"),
    (METRICS["prefill_throughput"], "prefill"),
    (METRICS["decode_latency"], "decode"),
    (METRICS["limit_fraction"], "train"),
    (METRICS["limit_fraction"], "prefill"),
    (METRICS["limit_fraction"], "decode"),
    (METRICS["peak_memory"], "train"),
    (METRICS["state"], "prefill"),
)
OF_TRAINING = ["corpus", "tokenizer", "tokens", "flops", "task", "load", "lr", "lr_at_edge"]
CAPTION = (
    "Both axes are logarithmic. Bars hold the middle half of the timed steps. A cross on a grey "
    "wall is the first length at which an architecture ran out of memory (OOM), time (timeout) or "
    "failed; the dotted way to it is not measured."
)
CROSSING_CAPTION = (
    " A ring is where the best of one family passes another's, its bar how surely that is known."
)
LIMIT_CAPTION = (
    " The fraction of the machine's limit is the least time that the measured ceilings of "
    "arithmetic and memory allow a step, over the time it took; hollow: what it must move fits in "
    "the last-level cache, so that only arithmetic counts."
)


def walls(rows: pd.DataFrame) -> pd.DataFrame:
    """The first row of each architecture that failed."""
    failed = rows[rows["value"].isna() & rows["status"].isin(FAILURES)].sort_values("seq_len")
    return failed.groupby("arch", as_index=False).first()


def _draw_walls(axes: Axes, rows: pd.DataFrame, looks: dict[str, Style]) -> None:
    failed = walls(rows)
    for length in sorted(set(failed["seq_len"])):
        hit = failed[failed["seq_len"] == length]
        axes.axvline(length, color=GREY, linewidth=1, linestyle="--", zorder=1)
        said = [
            f"{FAILURES[str(status)]}: {named(sorted(same['arch']))}"
            for status, same in hit.groupby("status")
        ]
        axes.annotate(
            "\n".join(said),
            (length, 1),
            xycoords=axes.get_xaxis_transform(),
            xytext=(4, -3),
            textcoords="offset points",
            rotation=90,
            va="top",
            fontsize=SMALL * rcParams["font.size"],
            color=INK,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1.5},
            zorder=6,
        )
        for arch in hit["arch"]:
            line = rows[(rows["arch"] == arch) & (rows["seq_len"] < length)]
            _end_at(axes, line.dropna(subset=["value"]), length, looks[arch].colour)


def _end_at(axes: Axes, line: pd.DataFrame, length: int, colour: str) -> None:
    """A cross where the line would have met the wall, had its last value lasted."""
    if line.empty:
        return
    last = line.sort_values("seq_len").to_dict("records")[-1]
    axes.plot([last["seq_len"], length], [last["value"]] * 2, ":", color=colour, linewidth=1.3)
    axes.plot(length, last["value"], "x", color=colour, markeredgewidth=2)


def _draw_hollow(axes: Axes, rows: pd.DataFrame, looks: dict[str, Style]) -> None:
    for point in rows.to_dict("records"):
        look = looks[point["arch"]]
        at = point["seq_len"], point["value"]
        axes.plot(*at, look.marker, color="white", markeredgecolor=look.colour, zorder=3)


def crossings(told: Sequence[Contest], metric: Metric, phase: str) -> list[Crossing]:
    """Those of a panel: a time per token crosses where its tokens/s do."""
    of = "decode_throughput" if metric.name == "decode_latency" else metric.name
    asked = [one for one in told if (one.cost.metric.name, one.cost.phase) == (of, phase)]
    return [crossing for one in asked for crossing in one.crossings]


def _draw_crossings(axes: Axes, rows: pd.DataFrame, found: Sequence[Crossing]) -> None:
    """A ring on the lines where they meet, and a bar for the interval."""
    for crossing in found:
        line = rows[rows["arch"] == crossing.first].sort_values("seq_len")
        value = np.interp(np.log(crossing.at.value), np.log(line["seq_len"]), np.log(line["value"]))
        axes.errorbar(
            crossing.at.value,
            np.exp(value),
            xerr=[
                [max(0.0, crossing.at.value - crossing.at.low)],
                [max(0.0, crossing.at.high - crossing.at.value)],
            ],
            marker="o",
            markersize=1.7 * rcParams["lines.markersize"],
            markerfacecolor="none",
            color=INK,
            elinewidth=1,
            markeredgewidth=1,
            zorder=5,
        )


def panel(
    axes: Axes,
    rows: pd.DataFrame,
    metric: Metric,
    phase: str,
    looks: dict[str, Style],
    crossed: Sequence[Crossing],
) -> None:
    reached = rows.dropna(subset=["value"])
    length_axis(axes, rows["seq_len"], room=1.45)
    whole = [1.0] * (metric.unit == "fraction")
    measure_axis(axes, "y", [*reached["low"], *reached["high"], *whole], metric.unit, pad=0.08)
    lines(axes, reached, "seq_len", "value", looks)
    for limit in whole:
        axes.axhline(limit, color=GREY, linewidth=1, linestyle="--", zorder=1)
    cached = reached[reached["status"] == "in cache"]
    _draw_hollow(axes, cached, looks)
    _draw_crossings(axes, reached, crossed)
    _draw_walls(axes, rows, looks)
    what = "context length" if phase == "decode" else "sequence length"
    axes.set_xlabel(f"{what} (tokens)" + " · hollow: in cache" * (not cached.empty))
    unit = ", tokens/s" if metric.unit == "tokens/s" else ""
    first = rows.iloc[0]
    how = [
        first["dtype"],
        *unusual(first["mode"], first["kernel"], first["short_conv"], first["ranks"]),
    ]
    note = " · ".join([phase, batches(rows), *how, f"{metric.better} is better"])
    head(axes, f"{metric.label}{unit}", fitted(axes, note))


def panels(rows: pd.DataFrame) -> Iterator[tuple[Metric, str, pd.DataFrame]]:
    """Each cost that was measured anywhere, its phase and its rows."""
    for metric, phase in PANELS:
        own = one_batch_per_length(of_metric(rows, metric.name, phase))
        if own["value"].notna().any():
            yield metric, phase, own


@paper
def draw(
    rows: pd.DataFrame,
    looks: dict[str, Style],
    stem: str,
    who: str,
    told: Sequence[Contest] = (),
) -> Drawing | None:
    """A panel for each cost that was measured anywhere, and the legend in the next free cell."""
    measured = list(panels(rows))
    if not measured:
        return None
    columns = min(3, len(measured) + 1)
    deep = -(-(len(measured) + 1) // columns)
    figure = new_figure(5.2 * columns, 4.5 * deep + 0.5)
    title = "Cost against sequence length"
    arrange(figure, f"{title} · {who}", "", columns)
    marked = False
    for i, (metric, phase, rows_of) in enumerate(measured):
        crossed = crossings(told, metric, phase)
        marked |= bool(crossed)
        axes = figure.add_subplot(deep, columns, i + 1)
        panel(axes, rows_of, metric, phase, looks, crossed)
    data = pd.concat([own for *_, own in measured], ignore_index=True)
    names = sorted(set(data["arch"]))
    legend(figure.add_subplot(deep, columns, len(measured) + 1), names, looks)
    return Drawing(
        stem=stem,
        title=title,
        caption=CAPTION
        + CROSSING_CAPTION * marked
        + LIMIT_CAPTION * ("limit_fraction" in set(data["metric"])),
        alt=f"Throughput, latency, memory and state against length for {listed(names)}.",
        figure=figure,
        data=data.drop(columns=OF_TRAINING),
    )
