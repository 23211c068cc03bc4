"""State tracking: train on what each token changes for ever, then right answers by position.

Parity and the composition of permutations: benchmarks/tasks/. What binds is not the size of the
state but whether one layer can compute with it, token after token.
"""

from collections.abc import Callable

from results import Case


def bench_state(case: Case, cell: Callable[[Case], None]) -> None:
    cell(case)
