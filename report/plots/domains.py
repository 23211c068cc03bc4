"""Quality by the kind of text, and with no target short of context: what one number hides."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from report.choice import Chosen, Setting
from report.domains import ALL, rows
from report.plots.drawing import Drawing
from report.plots.lines import arrange, head, legend
from report.plots.style import Style, measure_axis, new_figure, paper
from report.plots.words import budget, listed

WIDTH = 0.7  # of a column that markers share, of the step between two
CAPTION = (
    "Bits per byte are comparable between kinds of text, perplexity within one. In disjoint "
    "windows the first targets have little text before them; in sliding windows every target has "
    "most of a window, which is how text is written in use. Bars are the lowest and highest seed."
)


def _columns(axes: Axes, data: pd.DataFrame, names: Sequence[str], looks: dict[str, Style]) -> None:
    kinds = sorted(set(data["domain"]), key=lambda kind: (kind == ALL, kind))
    for i, name in enumerate(names):
        own = data[data["arch"] == name].set_index("domain")
        places = [k for k, kind in enumerate(kinds) if kind in own.index]
        shown = own.loc[[kinds[k] for k in places]]
        shift = WIDTH * ((i + 0.5) / len(names) - 0.5)
        middle = shown["bits_per_byte"]
        axes.errorbar(
            [k + shift for k in places],
            middle,
            yerr=[(middle - shown["low"]).clip(lower=0), (shown["high"] - middle).clip(lower=0)],
            color=looks[name].colour,
            marker=looks[name].marker,
            linestyle="none",
            markersize=7,
            markeredgecolor="white",
            elinewidth=0.9,
        )
    measure_axis(axes, "y", [*data["low"], *data["high"]], "bits/byte", pad=0.1)
    axes.set_xlim(-0.6, len(kinds) - 0.4)
    axes.xaxis.set_major_locator(FixedLocator(list(range(len(kinds)))))
    axes.xaxis.set_major_formatter(FixedFormatter(kinds))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("test bits per byte, lower is better")


def numbers(chosen: Sequence[Chosen], setting: Setting | None) -> pd.DataFrame | None:
    """What is drawn; None where one number says it all."""
    data = rows(chosen, setting) if setting else pd.DataFrame()
    if data.empty or len(data[["domain", "windows"]].drop_duplicates()) < 2:
        return None
    return data


@paper
def draw(
    chosen: Sequence[Chosen], setting: Setting | None, looks: dict[str, Style], stem: str, who: str
) -> Drawing | None:
    """A panel for each way of cutting the text; None where one number says it all."""
    data = numbers(chosen, setting)
    if setting is None or data is None:
        return None
    cuts = [cut for cut in ("disjoint", "sliding") if cut in set(data["windows"])]
    names = sorted(set(data["arch"]))
    figure = new_figure(14.4, 5.6)
    grid = figure.add_gridspec(1, len(cuts) + 1, width_ratios=[1] * len(cuts) + [0.4])
    title = "Quality by kind of text"
    subtitle = f"after {budget(setting)} of {setting.corpus}"
    arrange(figure, f"{title} · {who}", subtitle, len(cuts) + 1)
    for i, cut in enumerate(cuts):
        axes = figure.add_subplot(grid[i])
        _columns(axes, data[data["windows"] == cut], names, looks)
        head(axes, f"{cut.capitalize()} windows", f"at the trained length {setting.seq_len:,}")
    legend(figure.add_subplot(grid[len(cuts)]), names, looks)
    return Drawing(
        stem=stem,
        title=title,
        caption=CAPTION,
        alt=f"Test bits per byte by kind of text for {listed(names)}.",
        figure=figure,
        data=data,
    )
