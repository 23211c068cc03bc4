"""Training: forward, backward and optimizer step.

Compute-bound; memory holds every activation until the backward pass has used it.
"""

from collections.abc import Callable

from results import Case


def bench_train(case: Case, cell: Callable[[Case], None]) -> None:
    cell(case)
