"""Gold and proxy reward over the distance gone, what n buys, and what preferences buy."""

from collections.abc import Iterable
from statistics import fmean

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from report import align
from report.align import Course, Place, Runs
from report.plots.drawing import Drawing
from report.plots.lines import arrange, fitted, handles, head
from report.plots.style import COLOURS, INK, Style, measure_axis, new_figure, paper
from report.plots.words import listed

CAPTION = (
    "Above: gold reward, which is meant, and dashed the proxy that a reward model learned, over "
    "the KL divergence from the fine-tuned policy, on an axis of its square root. Both have one "
    "mean and spread over the fine-tuned policy's answers, so where they part, the policy gains by "
    "what the reward model has wrong. Below: gold reward of the best of n answers by reward models "
    "of more and more preferences; a ring marks the greatest. Last: how many held-out pairs a "
    "reward model ranks as gold does; hollow are those with labels turned over. Means over seeds."
)


def _ways(runs: Runs, pairs: int) -> dict[str, list[Place]]:
    """By what moved the answers: choosing among n, or learning."""
    ways = {"best of n": align.best_of_all(runs, pairs)}
    for method, beta in align.methods(runs):
        gone = [align.way(align.optimised(record)[method, beta]) for record in runs.values()]
        ways[f"{method}, β {beta:g}"] = align.averaged(gone)
    return ways


def _proxy(runs: Runs, place: Place) -> float:
    return fmean(align.in_gold(record, place.proxy) for record in runs.values())


def _distance(axes: Axes, arch: str, runs: Runs, pairs: int) -> None:
    ways = _ways(runs, pairs)
    for (name, places), colour in zip(ways.items(), COLOURS, strict=False):
        x = [place.kl_nats for place in places]
        axes.plot(x, [place.gold for place in places], "o-", color=colour, markersize=3.5)
        axes.plot(x, [_proxy(runs, place) for place in places], "--", color=colour, linewidth=1.1)
        axes.plot([], [], "o-", color=colour, label=name, markersize=3.5)
    axes.plot([], [], "--", color=INK, label="proxy", linewidth=1.1)
    far = max(place.kl_nats for places in ways.values() for place in places)
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axes.set_xlim(0, far * 1.05)
    axes.xaxis.set_major_locator(FixedLocator(_squares(far)))
    axes.set_xlabel("KL from the fine-tuned policy, nats")
    axes.set_ylabel("reward, on gold's scale")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    head(axes, arch, fitted(axes, f"reward model of {pairs:,} pairs"))
    axes.legend(frameon=False, fontsize=8, loc="best")


def _squares(far: float) -> list[float]:
    """Round ticks that are about evenly spaced in the square root."""
    steps = [0, 0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200]
    reached = [step for step in steps if step <= far]
    return [step for step in reached if step == 0 or step >= far / 50]


def _best_of(axes: Axes, runs: Runs) -> None:
    ladder = align.ladder(runs.values())
    for pairs, colour in zip(ladder, COLOURS, strict=False):
        places = align.best_of_all(runs, pairs)
        if not places:
            continue
        x, y = [place.at for place in places], [place.gold for place in places]
        axes.plot(x, y, "o-", color=colour, markersize=3.5, label=f"{pairs:,} pairs")
        top = align.peak(places)
        axes.plot(top.at, top.gold, "o", markersize=10, color=INK, markerfacecolor="none")
    axes.set_xscale("log", base=2)
    places_n = sorted({b.n for record in runs.values() for b in record.best_of})[::2]
    axes.xaxis.set_major_locator(FixedLocator(places_n))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_xlabel("n")
    axes.set_ylabel("gold reward of the best of n")
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.legend(frameon=False, fontsize=8, loc="best")


def _accuracy(axes: Axes, course: Course, looks: dict[str, Style]) -> None:
    every = align.ladder(course.records)
    measure_axis(axes, "x", [float(pairs) for pairs in every], "pairs", pad=0.1)
    axes.xaxis.set_major_locator(FixedLocator(every))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    for arch, runs in course.archs.items():
        look = looks[arch]
        for noise in align.noises(runs.values()):
            ladder = align.ladder(runs.values(), noise)
            found = [
                [align.accuracy(record, pairs, noise) or 0.0 for record in runs.values()]
                for pairs in ladder
            ]
            means = [fmean(each) for each in found]
            # a mean of equal numbers may be a rounding beside them
            below = [max(0.0, mean - min(each)) for mean, each in zip(means, found, strict=True)]
            above = [max(0.0, max(each) - mean) for mean, each in zip(means, found, strict=True)]
            axes.errorbar(
                ladder,
                means,
                yerr=[below, above],
                color=look.colour,
                marker=look.marker,
                linestyle=look.line if not noise else "none",
                markerfacecolor="white" if noise else look.colour,
                elinewidth=0.9,
            )
    axes.set_xlabel("preferences learned from")
    axes.set_ylabel("held-out pairs ranked as gold does")
    head(axes, "Reward models", "bars: lowest and highest seed")
    axes.legend(handles=handles(list(course.archs), looks), frameon=False, loc="lower right")


def _numbers(course: Course, pairs: int) -> pd.DataFrame:
    """What is drawn of rewards; accuracies are in a table of the page."""
    return pd.DataFrame(_rows(course, pairs))


def _rows(course: Course, pairs: int) -> Iterable[dict[str, object]]:
    for arch, runs in course.archs.items():
        drawn = {(name, pairs): places for name, places in _ways(runs, pairs).items()}
        for some in align.ladder(runs.values()):
            drawn["best of n", some] = align.best_of_all(runs, some)
        for (name, some), places in drawn.items():
            for place in places:
                yield {
                    "arch": arch,
                    "way": name,
                    "pairs": some,
                    "n_or_step": place.at,
                    "kl_nats": place.kl_nats,
                    "gold": place.gold,
                    "proxy": place.proxy,
                    "proxy_on_golds_scale": _proxy(runs, place),
                }


@paper
def draw(course: Course, looks: dict[str, Style], stem: str, who: str) -> Drawing:
    """Two panels for each architecture, and one of their reward models."""
    pairs = course.records[0].optimised[-1].pairs
    columns = len(course.archs) + 1
    figure = new_figure(4.6 * columns, 9.4)
    title = "What is meant, and what was learned of it, when that is optimised"
    arrange(figure, f"{title} · {who}", "gold and proxy reward of answers to held-out prompts", 3)
    for i, (arch, runs) in enumerate(course.archs.items()):
        _distance(figure.add_subplot(2, columns, i + 1), arch, runs, pairs)
        _best_of(figure.add_subplot(2, columns, columns + i + 1), runs)
    _accuracy(figure.add_subplot(2, columns, columns), course, looks)
    said = [
        f"{arch} best of {align.peak(found).at}"
        for arch, runs in course.archs.items()
        if (found := align.best_of_all(runs, pairs))
    ]
    return Drawing(
        stem=stem,
        title=title,
        caption=CAPTION,
        alt=f"Gold and proxy reward over KL. Gold is greatest for {listed(said)}.",
        figure=figure,
        data=_numbers(course, pairs),
    )
