"""Compression rate against speed: models and general-purpose compressors on the same bytes."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from report.choice import Setting
from report.compression import ALONE, MODEL, WARMED, rows
from report.frontier import pareto
from report.plots.drawing import Drawing
from report.plots.labels import Label, Pixels, along, place
from report.plots.lines import arrange, head
from report.plots.style import GREY, INK, Style, measure_axis, new_figure, paper
from report.plots.words import budget, listed
from report.units import show
from results import Record

CAPTION = (
    "Lossless: everything drawn was decoded again bit for bit. Up is smaller: the axis of rates "
    "runs downwards. A model knows its weights, which are not counted; a filled square has read as "
    "much training text as the models were trained on, and is what they compare with; a hollow one "
    "knows nothing. The dashed stairs are the Pareto frontier of all. The size of the weights over "
    "that of the training text, such as the 1.4 % of 140 GB over 10 TB, is a ratio of two sizes "
    "and no rate: it leaves out the bits that the text still takes once the weights are there."
)
SPEEDS = {"encode": "Compression", "decode": "Decompression"}


def _look(row: dict[Hashable, Any], looks: dict[str, Style]) -> dict[str, Any]:
    if row["kind"] == MODEL:
        look = looks[row["compressor"]]
        return {"marker": look.marker, "color": look.colour, "markeredgecolor": "white"}
    fill = GREY if row["kind"] == WARMED else "white"
    return {"marker": "s", "color": GREY, "markerfacecolor": fill, "markeredgecolor": GREY}


def _stairs(axes: Axes, ahead: pd.DataFrame, speed: str) -> Pixels:
    """The dashed frontier, fastest last; returns its corners in pixels."""
    slow, worst = axes.get_xlim()[0], max(axes.get_ylim())
    x = np.array([slow, *ahead[speed], ahead[speed].iloc[-1]])
    y = np.array([ahead["rate"].iloc[0], *ahead["rate"], worst])
    axes.step(x, y, "--", where="pre", color=INK, linewidth=1.2, zorder=2)
    corners = np.column_stack([np.repeat(x, 2)[:-1], np.repeat(y, 2)[1:]])
    return np.asarray(axes.transData.transform(corners), dtype=float)


def _panel(axes: Axes, data: pd.DataFrame, speed: str, looks: dict[str, Style]) -> None:
    measure_axis(axes, "x", list(data[speed]), "bytes/s", pad=0.1)
    measure_axis(axes, "y", [*data["low"], *data["high"]], "bits/byte", pad=0.2)
    axes.invert_yaxis()
    pairs = list(zip(data[speed], data["rate"], strict=True))
    kept = sorted(pareto(pairs, "higher", "lower"))
    stairs = _stairs(axes, data.iloc[kept].sort_values(speed), speed)
    for i, row in enumerate(data.to_dict("records")):
        reach = [[max(0.0, row["rate"] - row["low"])], [max(0.0, row["high"] - row["rate"])]]
        axes.errorbar(
            row[speed],
            row["rate"],
            yerr=reach,
            markersize=9 if i in kept else 7,
            elinewidth=1,
            zorder=4,
            **_look(row, looks),
        )
    axes.set_xlabel("bytes of text a second, higher is better")
    axes.set_ylabel("bits per byte (axis runs down: up is better)")
    head(axes, SPEEDS[speed], "compressors on one core, models there or on the GPU")
    spots = np.asarray(axes.transData.transform(data[[speed, "rate"]].to_numpy(float)))
    shifts = np.array([(dx, dy) for dx in (-9, 0, 9) for dy in (-9, 0, 9)])
    dots = np.concatenate([(spots[:, None] + shifts).reshape(-1, 2), along(stairs)])
    labels = [
        Label(
            text=row["compressor"],
            at=(row[speed], row["rate"]),
            colour=INK if row["kind"] == MODEL else GREY,
            size=10 if row["kind"] == MODEL else 8.5,
            weight="bold" if row["kind"] == MODEL else "normal",
        )
        for row in data.sort_values("kind", key=lambda kinds: kinds != MODEL).to_dict("records")
    ]
    place(axes, labels, dots, [])


def _legend(axes: Axes) -> None:
    square: dict[str, Any] = {
        "marker": "s",
        "linestyle": "none",
        "markeredgecolor": GREY,
        "markersize": 8,
    }
    axes.legend(
        handles=[
            Line2D([], [], markerfacecolor=GREY, label="compressor behind training text", **square),
            Line2D(
                [], [], markerfacecolor="white", label="compressor that knows nothing", **square
            ),
        ],
        loc="lower left",
        frameon=False,
        fontsize=9,
    )


@paper
def draw(
    records: Sequence[Record], setting: Setting | None, looks: dict[str, Style], stem: str, who: str
) -> Drawing | None:
    """A panel for each direction; None where nothing was compressed."""
    if setting is None or not records:
        return None
    data = rows(records)
    figure = new_figure(14.4, 6.4)
    title = "Compression rate against speed"
    texts = {record.coding.text_bytes for record in records if record.coding}
    text = " or ".join(show(count, "bytes") for count in sorted(texts))
    subtitle = f"{text} of held-out {setting.corpus}, models after {budget(setting)} of it"
    arrange(figure, f"{title} · {who}", subtitle, 2)
    for i, speed in enumerate(SPEEDS):
        axes = figure.add_subplot(1, 2, i + 1)
        _panel(axes, data, speed, looks)
    _legend(figure.axes[0])
    models = data[data["kind"] == MODEL]
    others = data[data["kind"] != MODEL]
    best = [
        f"{part['compressor'].iloc[0]} {part['rate'].iloc[0]:.2f}"
        for part in (models, others[others["kind"] == WARMED], others[others["kind"] == ALONE])
        if len(part)
    ]
    return Drawing(
        stem=stem,
        title=title,
        caption=CAPTION,
        alt=f"Bits per byte against bytes a second. Best model, compressor behind training text, "
        f"compressor alone: {listed(best)}.",
        figure=figure,
        data=data,
    )
