"""Quality against cost: a point for each architecture in one setting, and who leads."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from report.choice import Chosen, Setting, common_setting, run_in, within
from report.frontier import pareto
from report.metrics import METRICS, Metric
from report.table import of_metric

QUALITY = METRICS["perplexity"]
FAILURES = {"oom": "OOM", "timeout": "timeout", "diverged": "diverged", "error": "error"}


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A cost that quality is held against, and the phase in which it is read."""

    name: str
    short: str
    metric: Metric
    phase: str


def _panel(name: str, short: str, metric: str, phase: str) -> Panel:
    return Panel(name=name, short=short, metric=METRICS[metric], phase=phase)


PANELS = (
    _panel("decode throughput", "decode", "decode_throughput", "decode"),
    _panel("training throughput", "train", "train_throughput", "train"),
    _panel("peak training memory", "memory", "peak_memory", "train"),
    _panel("state per sequence", "state", "state", "prefill"),
)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The points of one panel, the settings they share, and why an architecture is absent."""

    panel: Panel
    cost: Setting
    quality: Setting
    points: pd.DataFrame
    absent: dict[str, str]

    @property
    def leaders(self) -> list[str]:
        """The architectures on the frontier, in the order of their cost."""
        ahead = self.points[self.points["on_frontier"]].sort_values("cost")
        return [str(arch) for arch in ahead["arch"]]


def _status(rows: pd.DataFrame, arch: str, otherwise: str) -> str:
    found = rows[rows["arch"] == arch]["status"]
    return FAILURES.get(found.iloc[0], otherwise) if len(found) else otherwise


def _points(panel: Panel, quality: pd.DataFrame, cost: pd.DataFrame) -> pd.DataFrame:
    keys = ["label", "size", "arch"]
    costs = cost[[*keys, "phase", "seq_len", "batch", "dtype", "mode", "value", "low", "high"]]
    costs = costs.rename(columns={"value": "cost", "low": "cost_low", "high": "cost_high"})
    losses = quality[[*keys, "value", "low", "high", "seeds", "lr"]].rename(
        columns={"value": "perplexity", "low": "perplexity_low", "high": "perplexity_high"}
    )
    points = costs.merge(losses, on=keys).dropna(subset=["cost", "perplexity"])
    points = points.sort_values("arch", ignore_index=True)
    pairs = list(zip(points["cost"], points["perplexity"], strict=True))
    kept = pareto(pairs, panel.metric.better, QUALITY.better)
    points["on_frontier"] = [i in kept for i in range(len(points))]
    points.insert(0, "panel", panel.name)
    points.insert(1, "unit", panel.metric.unit)
    return points


def by_seed(chosen: Iterable[Chosen], setting: Setting) -> dict[str, dict[int, float]]:
    """The test perplexity of each architecture and seed in one setting."""
    found: dict[str, dict[int, float]] = {}
    for record in run_in((pick.record for pick in chosen), setting):
        value = QUALITY.of(record)
        if value is not None:
            found.setdefault(record.case.arch, {})[record.case.seed] = value
    return found


def trained_setting(rows: pd.DataFrame) -> Setting | None:
    """The training run whose quality is held against every cost."""
    return common_setting(of_metric(rows, QUALITY.name))


def compare(rows: pd.DataFrame, panel: Panel) -> Comparison | None:
    """One panel, in the longest setting that most architectures of known quality share."""
    trained = trained_setting(rows)
    if trained is None:
        return None
    quality = within(of_metric(rows, QUALITY.name), trained)
    known = set(quality[quality["value"].notna()]["arch"])
    costs = of_metric(rows, panel.metric.name, panel.phase)
    setting = common_setting(costs[costs["arch"].isin(known)])
    if setting is None:
        return None
    cost = within(costs, setting)
    points = _points(panel, quality, cost)
    if points.empty:
        return None
    absent = {
        arch: _status(cost, arch, "not measured here")
        if arch in known
        else _status(quality, arch, "no quality")
        for arch in sorted(set(rows["arch"]) - set(points["arch"]))
    }
    return Comparison(panel=panel, cost=setting, quality=trained, points=points, absent=absent)


def comparisons(rows: pd.DataFrame) -> list[Comparison]:
    return [found for panel in PANELS if (found := compare(rows, panel)) is not None]
