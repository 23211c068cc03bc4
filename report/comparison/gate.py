"""`--fail-on 'tokens_per_s<0.95'`: fires only where the interval excludes the threshold.

The gate looks at the steadied ratio over all cells and at each architecture's. One chance in twenty
of a false alarm is shared by all that it looks at (Bonferroni): half of it is for the ratios over
all cells, where a change of everything shows best, the other half for the architectures. A cell is
never looked at alone: one burst of a neighbour makes it twice as slow.

Dunn, Multiple comparisons among means, 1961  https://doi.org/10.1080/01621459.1961.10482090
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from report.comparison.ratios import ALL, GroupRatio, Pair
from report.comparison.sides import QUANTITIES, Incomparable

FALSE_ALARMS = 0.05  # of a whole gate on two runs of the same code
_FORM = re.compile(r"(\w+)\s*([<>])\s*(\d+(?:\.\d+)?)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What must not be: a ratio to the baseline below, or above, a threshold."""

    quantity: str
    side: str  # "<" or ">"
    threshold: float

    def __str__(self) -> str:
        return f"{self.quantity}{self.side}{self.threshold:g}"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate saw of one ratio: by its bound the condition holds, or cannot be told."""

    condition: Condition
    pair: Pair
    group: GroupRatio
    value: float
    bound: float  # the highest that the ratio may be where the condition is "<"; else the lowest

    @property
    def fires(self) -> bool:
        if self.condition.side == "<":
            return self.bound < self.condition.threshold
        return self.bound > self.condition.threshold

    def __str__(self) -> str:
        most = "at most" if self.condition.side == "<" else "at least"
        return (
            f"{self.condition}: {self.pair.other.name} over {self.pair.baseline.name}, "
            f"{self.group.name}: {self.value:.3f}, {most} {self.bound:.3f}"
        )


def parse(text: str) -> Condition:
    """Raises Incomparable where `text` is not a condition."""
    found = _FORM.fullmatch(text.strip())
    if found is None or float(found[3]) <= 0:
        raise Incomparable(
            f"{text!r} is not a condition; write a quantity, < or >, and a ratio to the baseline, "
            "such as 'tokens_per_s<0.95'"
        )
    if found[1] not in (*QUANTITIES, "ops"):
        raise Incomparable(
            f"no quantity {found[1]!r}; there are ops (of a pytest-benchmark file), "
            f"{', '.join(QUANTITIES)}"
        )
    return Condition(quantity=found[1], side=found[2], threshold=float(found[3]))


def _seen(condition: Condition, pair: Pair) -> list[GroupRatio]:
    for ratios in pair.ratios:
        if ratios.quantity.name == condition.quantity:
            return [g for g in ratios.groups if ratios.quantity.exact or g.steadied is not None]
    return []


def verdicts(conditions: Sequence[Condition], pairs: Sequence[Pair]) -> list[Verdict]:
    """All that the gate looked at.

    Raises Incomparable where a condition sees nothing of a pair: such a gate would never fire. So
    few cells that all may lie on one side of the truth more often than the chance allows say
    nothing.
    """
    asked = [
        (condition, pair, _seen(condition, pair)) for condition in conditions for pair in pairs
    ]
    sampled = [group.name for *_, groups in asked for group in groups if group.steadied is not None]
    overall = sampled.count(ALL)
    single = len(sampled) - overall
    found: list[Verdict] = []
    for condition, pair, groups in asked:
        before = len(found)
        for group in groups:
            value = bound = group.mean
            if group.steadied is not None:
                share = FALSE_ALARMS / (2 if single else 1)
                chance = share / (overall if group.name == ALL else single)
                if 0.5**group.steadied.count > chance:
                    continue
                low, high = group.steadied.bounds(chance)
                value = group.steadied.estimate.value
                bound = high if condition.side == "<" else low
            found.append(
                Verdict(condition=condition, pair=pair, group=group, value=value, bound=bound)
            )
        if len(found) == before:
            raise Incomparable(
                f"'{condition}' has too little to look at: {pair.baseline.name} and "
                f"{pair.other.name} share too few cells with {condition.quantity}"
            )
    return found
