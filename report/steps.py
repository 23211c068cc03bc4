"""The timed steps of a Record in order of length, found once, however many metrics ask."""

from collections.abc import Callable
from statistics import median, quantiles
from typing import TypeVar

KEPT = 256  # Records' at a time: metrics ask of one Record after the other
Steps = tuple[float, ...]
T = TypeVar("T")


def _once(found: Callable[[Steps], T]) -> Callable[[Steps], T]:
    """`found`, which is kept by which tuple it is: what is in it would take as long to hash."""
    kept: dict[int, tuple[Steps, T]] = {}

    def asked(step_s: Steps) -> T:
        known = kept.get(id(step_s))
        if known is None:
            if len(kept) == KEPT:
                kept.clear()
            known = kept[id(step_s)] = step_s, found(step_s)  # held, so that no other gets its id
        return known[1]

    return asked


@_once
def typical_s(step_s: Steps) -> float:
    return median(step_s)


@_once
def middle_half(step_s: Steps) -> tuple[float, float]:
    """First and third quartile. Raises StatisticsError for fewer than two steps."""
    first, _, third = quantiles(step_s, n=4, method="inclusive")
    return first, third
