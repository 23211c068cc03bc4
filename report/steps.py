"""The timed steps of a Record in order of length, found once, however many metrics ask."""

from functools import lru_cache
from statistics import median, quantiles

KEPT = 256  # Records' at a time: metrics ask of one Record after the other
typical_s = lru_cache(KEPT)(median)


@lru_cache(KEPT)
def middle_half(step_s: tuple[float, ...]) -> tuple[float, float]:
    """First and third quartile. Raises StatisticsError for fewer than two steps."""
    first, _, third = quantiles(step_s, n=4, method="inclusive")
    return first, third
