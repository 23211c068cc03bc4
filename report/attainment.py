"""How sure a frontier is: redrawn with its points, the band it stays in and the area it commands.

The same measurements, made again, would give other points and so another frontier. DRAWS times the
points are redrawn (report/statistics.py) and the frontier taken. Its band lies between the
empirical attainment surfaces that nearly all and nearly none of those frontiers reach. The
hypervolume is the area between a frontier and a reference one doubling worse than the worst point
on either axis; both axes count in doublings. What leads by luck leads in most redraws too: the band
leans to the better side, which the hypervolume's interval makes good and a band cannot.

Grunert da Fonseca et al., Inferential performance assessment, 2001
https://doi.org/10.1007/3-540-44719-9_15
Zitzler et al., Performance assessment of multiobjective optimizers, 2003
https://doi.org/10.1109/TEVC.2003.810758
Computed by moocore  https://multi-objective.github.io/moocore
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import compress
from statistics import fmean, median

import moocore
import numpy as np
import pandas as pd
from msgspec.structs import replace
from numpy.typing import NDArray

from report.choice import Chosen, run_in
from report.compare import QUALITY, Comparison, by_seed
from report.frontier import Better
from report.metrics import Metric
from report.statistics import (
    DRAWS,
    TAILS,
    Estimate,
    Floats,
    batch_medians,
    interval,
    normals,
    redraw,
)
from results import Record

SEED = 0  # of the redrawing, so that the same Records give the same band
LEVELS = {"best": 100 * TAILS[0], "worst": 100 * TAILS[1]}  # percent of frontiers that reach it


@dataclass(frozen=True, kw_only=True)
class Attained:
    """A panel's frontier and what is known of it."""

    comparison: Comparison
    surfaces: dict[str, Floats]  # by name in LEVELS: corners (cost, perplexity)
    hypervolume: Estimate  # square doublings
    led: Counter[frozenset[str]]  # who is on the frontier, and in how many draws
    seeds: int  # the fewest of any architecture

    def share_with(self, names: Collection[str]) -> float:
        """Of the draws, those in which at least one of `names` is on the frontier."""
        with_them = (n for leaders, n in self.led.items() if not leaders.isdisjoint(names))
        return sum(with_them) / self.led.total()


def _signs(comparison: Comparison) -> Floats:
    return np.array([_sign(comparison.panel.metric.better), _sign(QUALITY.better)])


def _sign(better: Better) -> int:
    return 1 if better == "lower" else -1


def losses(points: Floats, comparison: Comparison) -> Floats:
    """(…, 2) costs and perplexities in doublings, turned so that less is better."""
    return np.asarray(np.log2(points) * _signs(comparison))


def reference(found: Iterable[Comparison]) -> Floats:
    """One doubling worse than the worst point of all comparisons, which share a panel."""
    worst = [
        losses(one.points[["cost", "perplexity"]].to_numpy(float), one).max(axis=0) for one in found
    ]
    return np.asarray(np.max(worst, axis=0) + 1)


def costs(metric: Metric, records: Sequence[Record], random: np.random.Generator) -> Floats:
    """DRAWS of the mean over records of a metric, each at redrawn medians of its steps."""
    drawn = []
    for record in records:
        value = metric.of(record)
        if value is None:
            continue
        if metric.spread(record) is None:  # bytes: counted, not sampled
            drawn.append(np.full(DRAWS, value))
            continue
        batches = dict(enumerate(batch_medians(record.step_s)))
        steps = redraw(median(record.step_s), batches, normals(random, len(batches)), random)
        # what a step of one second would give: a rate falls as 1 / the step's time
        at_1_s = metric.of(replace(record, step_s=(1.0,)))
        assert metric.unit == "tokens/s" and at_1_s is not None
        drawn.append(at_1_s / steps)
    return np.asarray(np.mean(drawn, axis=0))


def _redrawn(
    comparison: Comparison,
    records: Sequence[Record],
    seeds: dict[str, dict[int, float]],
    random: np.random.Generator,
) -> Floats:
    """(DRAWS, architectures, 2): what each point might have been."""
    every = sorted({seed for values in seeds.values() for seed in values})
    luck = dict(zip(every, normals(random, len(every)).values(), strict=True))
    drawn, own = [], run_in(records, comparison.cost)
    for arch, values in seeds.items():
        spent = costs(comparison.panel.metric, [r for r in own if r.case.arch == arch], random)
        drawn.append([spent, redraw(fmean(values.values()), values, luck, random)])
    return np.moveaxis(np.array(drawn), 2, 0)


def surfaces(points: Floats, sets: NDArray[np.int64]) -> dict[str, Floats]:
    """The corners of each level's surface; less is better, and a set's points follow each other."""
    found = moocore.eaf(points, sets, percentiles=list(LEVELS.values()))
    # a level comes back rounded
    levels = dict(zip(LEVELS, np.unique(found[:, 2]), strict=True))
    return {name: found[found[:, 2] == level, :2] for name, level in levels.items()}


def _ahead(points: Floats) -> NDArray[np.bool_]:
    """(…, points, 2): which are beaten by none beside them; less is better."""
    mine, others = points[..., :, None, :], points[..., None, :, :]
    beaten = np.all(others <= mine, axis=-1) & np.any(others < mine, axis=-1)
    return np.asarray(~np.any(beaten, axis=-1))


def attained(
    comparison: Comparison,
    records: Sequence[Record],
    chosen: Sequence[Chosen],
    worst: Floats,
) -> Attained:
    """The frontier of one panel redrawn; `worst` is the reference of its hypervolume."""
    names = [str(arch) for arch in comparison.points["arch"]]
    of_all = by_seed(chosen, comparison.quality)
    seeds = {arch: of_all[arch] for arch in names}
    points = losses(_redrawn(comparison, records, seeds, np.random.default_rng(SEED)), comparison)
    every, draw = points.reshape(-1, 2), np.repeat(np.arange(DRAWS), len(names))
    signs = _signs(comparison)
    measured = losses(comparison.points[["cost", "perplexity"]].to_numpy(float), comparison)
    area = moocore.Hypervolume(ref=worst)
    return Attained(
        comparison=comparison,
        surfaces={name: 2 ** (c * signs) for name, c in surfaces(every, draw).items()},
        hypervolume=interval(area(measured), np.array([area(drawn) for drawn in points])),
        led=Counter(frozenset(compress(names, led)) for led in _ahead(points).tolist()),
        seeds=min(map(len, seeds.values())),
    )


def frontier_table(found: Sequence[Attained]) -> pd.DataFrame:
    """One line for each panel: who leads, how surely, and the area their frontier commands."""
    return pd.DataFrame(
        [
            {
                "quality against": one.comparison.panel.name,
                "hypervolume": f"{one.hypervolume.value:.2f}",
                "at two sigma": f"{one.hypervolume.low:.2f} to {one.hypervolume.high:.2f}",
                "on how many of the redrawn frontiers": ", ".join(_shares(one)),
            }
            for one in found
        ]
    )


def _shares(found: Attained) -> list[str]:
    """Each architecture and its share, largest first, without those that are hardly ever there."""
    names = {name for leaders in found.led for name in leaders}
    shares = sorted(((found.share_with([name]), name) for name in names), reverse=True)
    return [f"{name} {_percent(share)}" for share, name in shares if share >= TAILS[0]]


def _percent(share: float) -> str:
    """Whole only where every draw agrees."""
    return "100 %" if share == 1 else f"{min(99, round(100 * share))} %"
