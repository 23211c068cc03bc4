"""The Pareto frontier: the points that no other beats."""

from collections.abc import Sequence
from typing import Literal

Better = Literal["lower", "higher"]


def pareto(points: Sequence[tuple[float, float]], x_better: Better, y_better: Better) -> list[int]:
    """Indices of the non-dominated points in order of x; equal points share their fate."""
    x_sign = 1 if x_better == "lower" else -1
    y_sign = 1 if y_better == "lower" else -1
    costs = [(x_sign * x, y_sign * y) for x, y in points]
    kept: list[int] = []
    for i in sorted(range(len(costs)), key=costs.__getitem__):
        # whatever stands before i is no worse in x, so i must gain in y or be the same point
        if not kept or costs[i][1] < costs[kept[-1]][1] or costs[i] == costs[kept[-1]]:
            kept.append(i)
    return kept if x_better == "lower" else kept[::-1]
