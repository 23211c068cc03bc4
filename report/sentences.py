"""One machine and size in words: who is on the frontier at each length, what fits, what crosses."""

from collections.abc import Iterable, Iterator
from itertools import groupby

import pandas as pd

from report.choice import HOW, one_batch_per_length, within
from report.compare import PANELS, QUALITY, Panel, trained_setting
from report.crossovers import Crossovers
from report.crossovers import sentences as of_crossovers
from report.frontier import pareto
from report.plots.words import listed
from report.table import of_metric
from report.units import show, show_length

FITS = {"largest_batch": "the largest batch", "greatest_length": "the greatest length"}


def leaders(rows: pd.DataFrame, panel: Panel) -> dict[int, tuple[str, ...]]:
    """By length, one batch each: who is on the frontier of those that finished there."""
    trained = trained_setting(rows)
    if trained is None:
        return {}
    quality = within(of_metric(rows, QUALITY.name), trained).dropna(subset=["value"])
    losses = dict(zip(quality["arch"], quality["value"], strict=True))
    costs = one_batch_per_length(of_metric(rows, panel.metric.name, panel.phase))
    known = costs[costs["arch"].isin(losses)].dropna(subset=["value"])
    points: dict[int, list[tuple[float, float]]] = {}
    names: dict[int, list[str]] = {}
    for length, arch, value in zip(known["seq_len"], known["arch"], known["value"], strict=True):
        points.setdefault(length, []).append((value, losses[arch]))
        names.setdefault(length, []).append(arch)
    return {
        length: tuple(
            sorted(names[length][i] for i in pareto(at, panel.metric.better, QUALITY.better))
        )
        for length, at in sorted(points.items())
    }


def _runs(found: dict[int, tuple[str, ...]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Neighbouring lengths with the same leaders, together."""
    for ahead, run in groupby(sorted(found), key=found.__getitem__):
        lengths = [show_length(length) for length in run]
        yield " to ".join(dict.fromkeys((lengths[0], lengths[-1]))), ahead


def of_frontiers(rows: pd.DataFrame) -> Iterator[str]:
    for panel in PANELS:
        said = [f"at {where} {listed(ahead)}" for where, ahead in _runs(leaders(rows, panel))]
        if said:
            yield f"On the frontier of perplexity and {panel.name}: {'; '.join(said)}."


def of_limits(rows: pd.DataFrame) -> Iterator[str]:
    """Who fits most and who least into memory, in each setting that was searched."""
    limits = rows[rows["metric"].isin(FITS)].dropna(subset=["value"])
    for _, found in limits.groupby(["phase", "metric", "seq_len", *HOW], observed=True):
        phase, metric, length = found[["phase", "metric", "seq_len"]].iloc[0]
        order = found.sort_values(["value", "arch"], ascending=[False, True]).to_dict("records")
        where = f" at length {show_length(length)}" if metric == "largest_batch" else ""
        most, least = (
            f"{'at least ' * (row['status'] == 'at least')}{show(row['value'], row['unit'])} "
            f"({row['arch']})"
            for row in (order[0], order[-1])
        )
        reach = most if len(order) == 1 else f"{most} down to {least}"
        yield f"{phase[0].upper()}{phase[1:]}: {FITS[metric]} that fits{where} is {reach}."


def sentences(rows: pd.DataFrame, crossed: Crossovers) -> list[str]:
    parts: tuple[Iterable[str], ...] = (of_frontiers(rows), of_limits(rows), of_crossovers(crossed))
    return [sentence for part in parts for sentence in part]
