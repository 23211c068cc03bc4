"""What a model keeps of what it has read: right answers, loss beyond Bayes, the past it uses."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from report.choice import Chosen, setting_of
from report.losses import accuracy, tally
from report.plots.drawing import Drawing
from report.plots.lines import arrange, head, legend, lines
from report.plots.style import (
    GREY,
    Style,
    length_axis,
    measure_axis,
    new_figure,
    paper,
)
from report.plots.words import budget, listed
from report.units import show_length
from results import Record

CAPTION = (
    "Each model is trained on the task and asked on sequences it has not met. Points are the mean "
    "over seeds, bars the lowest and highest. Accuracy is the share of answers whose likeliest "
    "token was right; what is low may be unlearned within the steps given rather than out of "
    "reach. Loss beyond Bayes is what an answer costs more than under the exact predictor. The "
    "change of a prediction is the total variation to the one made from the whole past: where its "
    "line falls below the dashed 0.02, more text behind it changes nothing."
)
NEAR = 0.02
Values = Iterator[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A curve of every architecture, and how its axes read."""

    title: str
    phase: str
    x: str
    y: str
    unit: str  # of y
    read: Callable[[Record], Values]
    whole_task: bool = False  # over all loads at once, not at the greatest
    x_unit: str = "tokens"


def _middles(edges: Sequence[int], end: int) -> list[float]:
    """The geometric middle of each bin."""
    ends = [*edges[1:], max(end, edges[-1] + 1)]
    return [(start * stop) ** 0.5 for start, stop in zip(edges, ends, strict=True)]


def by_load(record: Record) -> Values:
    test = tally(record, "test", record.case.seq_len)
    if test is not None and (right := accuracy(test)) is not None:
        yield float(record.case.load or 0), right


def by_length(record: Record) -> Values:
    for test in record.tallies:
        if test.split == "test" and (right := accuracy(test)) is not None:
            yield float(test.seq_len), right


def by_distance(record: Record) -> Values:
    test = tally(record, "test", record.case.seq_len)
    if test is not None:
        places = _middles(test.edges, test.seq_len)
        for x, right, asked in zip(places, test.right, test.answers, strict=True):
            if asked:
                yield x, right / asked


def by_state(record: Record) -> Values:
    test = tally(record, "test", record.case.seq_len)
    if test is not None and record.state_bytes and (right := accuracy(test)) is not None:
        yield record.state_bytes / record.case.batch, right


def excess(record: Record) -> Values:
    test = tally(record, "test", record.case.seq_len)
    if test is not None and test.bayes_nats:
        places = _middles(test.edges, test.seq_len)
        sums = zip(places, test.nats, test.bayes_nats, test.answers, strict=True)
        for x, own, ideal, asked in sums:
            if asked:
                yield x, (own - ideal) / asked


def forgotten(record: Record) -> Values:
    past = record.remembrance
    if past is not None:
        # the whole past is the reference itself: zero, which a log axis does not have
        for kept, distance in zip(past.kept[:-1], past.distance[:-1], strict=True):
            yield float(kept), distance / past.windows


def _panel(title: str, phase: str, x: str, y: str, unit: str, **more: Any) -> Panel:
    return Panel(title=title, phase=phase, x=x, y=y, unit=unit, **more)


RIGHT = "right answers"
PANELS = (
    _panel("Recall by load", "recall", "load", RIGHT, "share", read=by_load, whole_task=True),
    _panel("Recall by distance", "recall", "distance", RIGHT, "share", read=by_distance),
    _panel(
        "Recall by live state", "recall", "state", RIGHT, "share", read=by_state, x_unit="bytes"
    ),
    _panel("Recall beyond the trained length", "recall", "length", RIGHT, "share", read=by_length),
    _panel("State tracking by length", "state", "length", RIGHT, "share", read=by_length),
    _panel("Loss beyond Bayes by position", "markov", "position", "excess", "nats", read=excess),
    _panel("Past a prediction needs: chain", "markov", "kept", "change", "change", read=forgotten),
    _panel("Past a prediction needs: text", "quality", "kept", "change", "change", read=forgotten),
)
AXES = {
    "load": "load (pairs or symbols to keep)",
    "distance": "distance to where it was read (tokens)",
    "state": "live state per sequence",
    "length": "length asked (tokens); dashed: trained",
    "position": "tokens already read",
    "kept": "tokens of past kept",
    RIGHT: "right answers, higher is better",
    "excess": "nats beyond Bayes, lower is better",
    "change": "change of the prediction (total variation)",
}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    panel: Panel
    note: str
    trained: int
    rows: pd.DataFrame


def _task(record: Record) -> tuple[Any, ...]:
    """What runs of one panel share: everything but architecture, seed, load and the batch."""
    setting = setting_of(record.case)
    return setting.task, setting.seq_len, setting.dtype, setting.kernel, setting.short_conv


def _rows(panel: Panel, records: Iterable[Record]) -> pd.DataFrame:
    found = [
        {
            "label": record.label,
            "size": record.case.size,
            "arch": record.case.arch,
            "task": record.case.task or "",
            "load": record.case.load or 0,
            "x": x,
            "y": y,
        }
        for record in records
        for x, y in panel.read(record)
    ]
    if not found:
        return pd.DataFrame()
    grouped = pd.DataFrame(found).groupby(
        ["label", "size", "arch", "task", "load", "x"], as_index=False
    )
    means = grouped.agg(value=("y", "mean"), low=("y", "min"), high=("y", "max"))
    return means.assign(seeds=grouped["y"].count()["y"], panel=panel.title)


def _drawn(chosen: Iterable[Chosen]) -> Iterator[Drawn]:
    records = [pick.record for pick in chosen if pick.record.status == "ok"]
    for panel in PANELS:
        of_phase = sorted((r for r in records if r.case.phase == panel.phase), key=_task)
        for _, group in groupby(of_phase, key=_task):
            runs = list(group)
            loads = {record.case.load or 0 for record in runs}
            if panel.whole_task and len(loads) < 2:
                continue
            if not panel.whole_task:
                runs = [record for record in runs if (record.case.load or 0) == max(loads)]
            rows = _rows(panel, runs)
            if len(rows) and (panel.read is not by_length or rows["x"].nunique() > 1):
                yield Drawn(
                    panel=panel, note=_note(panel, runs), trained=runs[0].case.seq_len, rows=rows
                )


def _note(panel: Panel, runs: Sequence[Record]) -> str:
    case = runs[0].case
    what = case.task or case.corpus or ""
    load = "" if panel.whole_task or case.load is None else f" · load {case.load}"
    return f"{what}{load} · length {show_length(case.seq_len)} · {budget(setting_of(case))}"


def _draw(axes: Axes, drawn: Drawn, looks: dict[str, Style]) -> None:
    panel, rows = drawn.panel, drawn.rows
    if panel.x_unit == "bytes":
        measure_axis(axes, "x", rows["x"].tolist(), "bytes", pad=0.12)
    elif panel.x in ("load", "length"):
        length_axis(axes, (int(x) for x in rows["x"]))
    else:
        powers = [2**i for i in range(1, 24, 2) if rows["x"].min() <= 2**i <= rows["x"].max()]
        length_axis(axes, powers or [int(rows["x"].max())])
        axes.set_xlim(rows["x"].min() / 1.2, rows["x"].max() * 1.2)
    if panel.unit == "share":
        axes.set_ylim(-0.03, 1.05)
        axes.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    elif panel.unit == "change":
        # what is far below NEAR is nothing, and would squeeze what is not
        drawn_y = [y for y in (*rows["low"], *rows["high"]) if y >= NEAR / 20]
        measure_axis(axes, "y", [*drawn_y, NEAR], "change", pad=0.08)
        axes.axhline(NEAR, color=GREY, linewidth=1, linestyle="--", zorder=1)
    else:
        axes.set_ylim(min(0, rows["low"].min()) * 1.05, max(0.01, rows["high"].max()) * 1.05)
        axes.axhline(0, color=GREY, linewidth=1, zorder=1)
    axes.yaxis.set_minor_locator(NullLocator())
    if panel.x == "length":
        axes.axvline(drawn.trained, color=GREY, linewidth=1, linestyle="--", zorder=1)
    lines(axes, rows, "x", "value", looks)
    axes.set_xlabel(AXES[panel.x])
    axes.set_ylabel(AXES[panel.y])
    head(axes, panel.title, drawn.note)


@paper
def draw(chosen: Iterable[Chosen], looks: dict[str, Style], stem: str, who: str) -> Drawing | None:
    """A panel for each curve that was measured, and the legend in the next free cell."""
    every = list(_drawn(chosen))
    if not every:
        return None
    columns = min(3, len(every) + 1)
    deep = -(-(len(every) + 1) // columns)
    figure = new_figure(5.2 * columns, 4.5 * deep + 0.5)
    title = "What a model keeps of what it has read"
    arrange(figure, f"{title} · {who}", "", columns)
    for i, drawn in enumerate(every):
        _draw(figure.add_subplot(deep, columns, i + 1), drawn, looks)
    data = pd.concat([drawn.rows for drawn in every], ignore_index=True)
    names = sorted(set(data["arch"]))
    legend(figure.add_subplot(deep, columns, len(every) + 1), names, looks)
    return Drawing(
        stem=stem,
        title=title,
        caption=CAPTION,
        alt=f"{listed(list(dict.fromkeys(data['panel'])))}, for {listed(names)}.",
        figure=figure,
        data=data,
    )
