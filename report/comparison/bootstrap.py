"""How sure a ratio is: bootstrap intervals, of a cell over its steps, of a group over its cells.

A neighbour on the same machine slows whole cells, so that a cell's own steps know nothing of it:
what is resampled for a group is its cells. Three things keep a disturbed machine from passing for
slow code:

- The sentinel, the same work beside every cell, says how slow the machine was. The log ratios of
  the cells are regressed on those of their sentinels, phase by phase, and what the lines explain
  is taken out: an analysis of covariance. The slopes are estimated anew in every draw. Where few
  sentinels moved, they do nothing; where two machines differ throughout, they have to extrapolate
  and the interval grows.
- The steadied ratio is the geometric mean of the middle half of the cells, the interquartile mean.
- Bursts outlast cells: those measured one after another are resampled in blocks, circular ones.

A percentile interval of few samples is too narrow; its tails are moved to where Student's would be.

Fisher, Statistical methods for research workers, 4th ed., 1932, section 49.1 (covariance)
Agarwal et al., Deep RL at the edge of the statistical precipice, 2021 (interquartile mean)
https://arxiv.org/abs/2108.13264
Politis & Romano, A circular block-resampling procedure, in Exploring the limits of bootstrap, 1992
Hesterberg, What teachers should know about the bootstrap, 2015, section 5.3 (expanded percentile)
https://doi.org/10.1080/00031305.2015.1089789
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from report.statistics import TAILS, Estimate, Floats, batch_medians

DRAWS = 2000
SEED = 0  # so that the same Records say the same twice
AT_ONCE = 4_000_000  # numbers redrawn at a time: 32 MB
# the fewest cells of which an interval is given: of five, even their whole range
# misses the median 2 · 2⁻⁵ = 6 % of the time
FEWEST = 6


def expanded(tail: float, count: float) -> float:
    """The tail of a percentile interval of `count` samples that is as wide as Student's."""
    if count <= 1:
        return 0.0
    stretch = np.sqrt(count / (count - 1))
    return float(special.ndtr(stretch * special.stdtrit(count - 1, tail)))


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """The log of a ratio, what it might have been, and of how many samples it was redrawn."""

    log: float
    draws: Floats
    count: float

    def bounds(self, tail: float = TAILS[0]) -> tuple[float, float]:
        """Of the ratio: below and above lies `tail` each."""
        tail = expanded(tail, self.count)
        low, high = np.exp(np.quantile(self.draws, (tail, 1 - tail)))
        return float(low), float(high)

    @property
    def estimate(self) -> Estimate:
        low, high = self.bounds()
        return Estimate(value=float(np.exp(self.log)), low=low, high=high)


def block_length(count: int) -> int:
    """Of a whole run, in cells: the usual order for a variance (Hall et al., Biometrika 1995)."""
    return max(1, round(count ** (1 / 3)))


def block_share(length: int, part: int, count: int) -> int:
    """Of `part` of a run's `count` cells, spread over it: as long a stretch of the run."""
    return max(1, round(length * part / count))


def _resamples(
    count: int, length: int, random: np.random.Generator
) -> Iterator[tuple[slice, NDArray[np.intp]]]:
    """DRAWS resamples of `count` samples in circular blocks, in parts: which draws, and of what."""
    blocks = -(-count // length)
    part = max(1, AT_ONCE // count)
    for start in range(0, DRAWS, part):
        which = slice(start, min(start + part, DRAWS))
        starts = random.integers(count, size=(which.stop - start, blocks, 1))
        picked = (starts + np.arange(length)) % count
        yield which, picked.reshape(len(starts), -1)[:, :count]


def middle(logs: Floats) -> Floats:
    """The mean of the middle half along the last axis; of three or fewer, of all."""
    count = logs.shape[-1]
    cut = count // 4
    if cut:
        logs = np.partition(logs, (cut, count - cut - 1), axis=-1)[..., cut : count - cut]
    return np.asarray(logs.mean(axis=-1))


def slope(logs: Floats, sentinels: Floats) -> Floats:
    """Of the line through the cells, along the last axis; flat where no sentinel moved."""
    off = sentinels - sentinels.mean(axis=-1, keepdims=True)
    moved = (off**2).sum(axis=-1)
    return np.asarray((off * logs).sum(axis=-1) / np.where(moved > 0, moved, 1))


@dataclass(frozen=True, kw_only=True)
class Steadying:
    """How the cells of a run answered to their sentinels: a slope for each kind, and its draws."""

    slopes: Floats  # by kind
    draws: Floats  # by kind and draw


def steadying(logs: Floats, sentinels: Floats, kinds: NDArray[np.intp], length: int) -> Steadying:
    """`kinds` counts from 0; one of few cells keeps slope 0, as any line goes through two points.

    A step of half a millisecond passes between two turns of a busy scheduler, one of a second does
    not: a slope holds for cells of a kind.
    """
    random = np.random.default_rng(SEED)
    slopes = np.zeros(int(kinds.max()) + 1)
    draws = np.zeros((len(slopes), DRAWS))
    for kind in range(len(slopes)):
        y, x = logs[kinds == kind], sentinels[kinds == kind]
        if len(y) >= FEWEST:
            slopes[kind] = slope(y, x)
            for which, picked in _resamples(len(y), block_share(length, len(y), len(logs)), random):
                draws[kind, which] = slope(y[picked], x[picked])
    return Steadying(slopes=slopes, draws=draws)


def mean_of_cells(logs: Floats, length: int) -> Drawn:
    """The geometric mean of the cells' ratios, as they are."""
    random = np.random.default_rng(SEED)
    draws = np.empty(DRAWS)
    for which, picked in _resamples(len(logs), length, random):
        draws[which] = logs[picked].mean(axis=-1)
    return Drawn(log=float(logs.mean()), draws=draws, count=len(logs) / length)


def steadied(
    logs: Floats,
    length: int,
    sentinels: Floats | None = None,
    kinds: NDArray[np.intp] | None = None,
    steady: Steadying | None = None,
) -> Drawn:
    """The geometric mean of the middle half of the cells, at equal sentinels where there are."""
    random = np.random.default_rng(SEED)
    draws = np.empty(DRAWS)
    if sentinels is None or kinds is None or steady is None:
        for which, picked in _resamples(len(logs), length, random):
            draws[which] = middle(logs[picked])
        return Drawn(log=float(middle(logs)), draws=draws, count=len(logs) / length)
    for which, picked in _resamples(len(logs), length, random):
        slopes = steady.draws[kinds[picked], np.arange(which.start, which.stop)[:, None]]
        draws[which] = middle(logs[picked] - slopes * sentinels[picked])
    log = float(middle(logs - steady.slopes[kinds] * sentinels))
    return Drawn(log=log, draws=draws, count=len(logs) / length)


def _offsets(batches: Floats, random: np.random.Generator) -> Floats:
    """For each row, how far the mean of its resampled batches lies from that of all, in log."""
    count = batches.shape[1]
    weights = random.multinomial(count, np.full(count, 1 / count), size=DRAWS) / count
    logs = np.log(batches)
    return np.asarray((logs - logs.mean(axis=1, keepdims=True)) @ weights.T)


def of_steps(
    theirs: Sequence[Sequence[float]], ours: Sequence[Sequence[float]], logs: Floats
) -> list[Estimate]:
    """Cell by cell, the interval of exp(`logs`), the ratio of theirs to ours, over timed steps.

    All cells of a side have as many batches, at least two; neither knows what slowed it as a whole.
    """
    random = np.random.default_rng(SEED)
    their_batches, our_batches = (
        np.array([batch_medians(step_s) for step_s in side]) for side in (theirs, ours)
    )
    count = min(their_batches.shape[1], our_batches.shape[1])
    tails = expanded(TAILS[0], count), 1 - expanded(TAILS[0], count)
    estimates = []
    for start in range(0, len(logs), AT_ONCE // DRAWS):
        part = slice(start, start + AT_ONCE // DRAWS)
        off = _offsets(their_batches[part], random) - _offsets(our_batches[part], random)
        bounds = np.exp(logs[part] + np.quantile(off, tails, axis=1))
        estimates += [
            Estimate(value=float(np.exp(log)), low=float(low), high=float(high))
            for log, low, high in zip(logs[part], *bounds, strict=True)
        ]
    return estimates
