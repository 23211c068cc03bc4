"""Claims about reading both ways: that it fills gaps better, and that its states say more."""

from collections.abc import Callable
from functools import partial

from report import infill
from report.claims.evidence import (
    SEEDS,
    Evidence,
    Judgement,
    Range,
    decide,
    say_points,
    together,
    undecided,
)
from report.infill import Trained, Value
from report.statistics import difference

# of the shares right, masked less the same trunk reading one way
BETTER, WORSE = Range(low=0.0), Range(high=0.0)


def both_sides_fill_better(evidence: Evidence) -> Judgement:
    def values(masked: Trained, one_way: Trained) -> dict[str, Value]:
        return {
            f"tokens right in gaps of {length}": partial(infill.tokens_right, length=length)
            for length in infill.lengths([masked, one_way])
        }

    return _against_one_way(evidence, values)


def both_sides_say_more(evidence: Evidence) -> Judgement:
    return _against_one_way(
        evidence, lambda masked, one_way: {"sections right": infill.sections_right}
    )


def _against_one_way(
    evidence: Evidence, values: Callable[[Trained, Trained], dict[str, Value]]
) -> Judgement:
    judged = [
        _compared(masked, one_way, what, value)
        for masked, one_way in infill.pairs(infill.trainings(evidence.records))
        for what, value in values(masked, one_way).items()
        if len(one_way.by_seed(value).keys() & masked.by_seed(value).keys()) >= SEEDS
    ]
    if not judged:
        return undecided(f"not measured: it takes an encoder trained both ways with {SEEDS} seeds")
    return together(judged)


def _compared(masked: Trained, one_way: Trained, what: str, value: Value) -> Judgement:
    ours, theirs = masked.by_seed(value), one_way.by_seed(value)
    apart = difference(ours, theirs)
    return Judgement(
        verdict=decide(apart, BETTER, WORSE),
        measured=[
            f"{masked.arch}, {masked.objective}: {what} {_mean(ours)}, reading one way "
            f"{_mean(theirs)}: {say_points(apart)} apart"
        ],
        records=[*masked.records, *one_way.records],
    )


def _mean(values: dict[int, float]) -> str:
    return f"{100 * sum(values.values()) / len(values):.1f} %"
