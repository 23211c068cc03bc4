"""In-context Markov chains: loss by position beside the exact Bayes predictor's, and how far a cut
past moves the prediction. What binds is how many counts a state can keep."""

from collections.abc import Callable

from results import Case


def bench_markov(case: Case, cell: Callable[[Case], None]) -> None:
    cell(case)
