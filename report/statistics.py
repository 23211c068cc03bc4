"""How sure a number is: Student's intervals over seeds, and over batches of timed steps.

All intervals hold at two sigma, 95.45 %. They are Student's and no plain bootstrap's: of three
seeds no resampling leaves the range they span, and that range holds the true mean only
1 - 2 (1/2)³ = 75 % of the time. Neighbouring steps are alike, so what scatters is not the steps but
the medians of five successive batches of them, longer than most likeness. Below about twenty steps
batches are short and likeness still makes the interval too narrow.

Student, The probable error of a mean, 1908                       https://doi.org/10.2307/2331554
Schmeiser, Batch size effects in the analysis of simulation output, 1982
https://doi.org/10.1287/opre.30.3.556
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np
import scipy  # its parts are imported where they are first used: scipy.stats takes a second
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = math.erf(2 / math.sqrt(2))  # of a normal law, within two sigma
TAILS = ((1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2)
BATCHES = 5  # the fewer, the longer and the less alike; below five Student's price climbs steeply
DRAWS = 1000
FARTHEST = 20.0  # in log: two seeds' law is Cauchy's, whose tails no float holds


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its interval at two sigma. What is counted exactly has none to speak of."""

    value: float
    low: float
    high: float


def exactly(value: float) -> Estimate:
    return Estimate(value=value, low=value, high=value)


def _within(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


def _student(freedom: float) -> float:
    """How many standard errors two sigma are: 14 with one degree of freedom, 4.5 with two."""
    return float(scipy.special.stdtrit(freedom, TAILS[1]))


def mean(values: Sequence[float]) -> Estimate | None:
    """Of independent values; None for fewer than two, which do not say how far they scatter."""
    if len(values) < 2:
        return None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return _within(float(np.mean(values)), _student(len(values) - 1) * error)


def difference(ours: Mapping[int, float], theirs: Mapping[int, float]) -> Estimate | None:
    """Ours less theirs, each by seed: pair by pair where at least two seeds are shared.

    A seed draws the same text for every architecture, so what it does to both cancels in pairs.
    Else Welch's. None where a side has fewer than two seeds.
    """
    shared = sorted(ours.keys() & theirs.keys())
    if len(shared) >= 2:
        return mean([ours[seed] - theirs[seed] for seed in shared])
    sides = [list(ours.values()), list(theirs.values())]
    if min(map(len, sides)) < 2:
        return None
    found = scipy.stats.ttest_ind(*sides, equal_var=False).confidence_interval(CONFIDENCE)
    apart = float(np.mean(sides[0]) - np.mean(sides[1]))
    return Estimate(value=apart, low=float(found.low), high=float(found.high))


def beats(ours: Mapping[int, float], theirs: Mapping[int, float]) -> bool:
    """Whether ours is lower by more than two sigma of the difference."""
    apart = difference(ours, theirs)
    return apart is not None and apart.high < 0


def growth(lengths: Sequence[float], values: Sequence[float]) -> Estimate | None:
    """The power of length that a quantity grows with: the slope of log against log.

    The interval is that of a regression: what scatters about the line, from one timed cell to the
    next as from a bend, widens it. None for fewer than three lengths.
    """
    if len(set(lengths)) < 3:
        return None
    x, y = np.log(lengths), np.log(values)
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    error = math.sqrt(float(np.sum((y - slope * x) ** 2)) / (len(x) - 2) / float(x @ x))
    return _within(slope, _student(len(x) - 2) * error)


def batch_medians(step_s: Sequence[float]) -> list[float]:
    """Of successive parts of equal length; fewer steps than BATCHES are parts of their own."""
    parts = min(BATCHES, len(step_s))
    length, longer = divmod(len(step_s), parts)  # the first few may be one longer
    ends = [i * length + min(i, longer) for i in range(parts + 1)]
    return [median(step_s[start:end]) for start, end in pairwise(ends)]


def median_step(step_s: Sequence[float]) -> Estimate | None:
    """The median of the timed steps, in seconds; None for fewer than two."""
    batches = mean(batch_medians(step_s)) if len(step_s) > 1 else None
    return batches and _within(median(step_s), batches.high - batches.value)


def normals(random: np.random.Generator, count: int) -> dict[int, Floats]:
    """Standard normal draws for each of `count` samples."""
    return dict(enumerate(random.standard_normal((count, DRAWS))))


def redraw(
    value: float,
    samples: Mapping[int, float],
    luck: Mapping[int, Floats],
    random: np.random.Generator,
) -> Floats:
    """What `value`, a mean of positive `samples`, might have been: DRAWS of Student's law, in log.

    `luck` is the standard normal draws of each sample. Two values that share it, as two
    architectures share a seed's text, are redrawn together as their samples lie together.
    """
    count, logs = len(samples), {key: math.log(sample) for key, sample in samples.items()}
    if count < 2:
        return np.full(DRAWS, value)
    centre = sum(logs.values()) / count
    normal = sum((log - centre) * luck[key] for key, log in logs.items())
    stretch = np.sqrt((count - 1) / random.chisquare(count - 1, DRAWS))
    off = np.clip(normal * stretch / math.sqrt(count * (count - 1)), -FARTHEST, FARTHEST)
    return np.asarray(value * np.exp(off))


def interval(value: float, drawn: Floats) -> Estimate:
    """The reverse percentile interval: as far below `value` as the draws reach above it, and so on.

    What takes the best of several redraws too high, and `value` was too high by as much.
    Davison & Hinkley, Bootstrap methods and their application, 1997, section 5.2.1
    """
    low, high = np.quantile(drawn, TAILS)
    return Estimate(value=value, low=2 * value - float(high), high=2 * value - float(low))
