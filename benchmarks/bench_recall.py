"""Recall: train on a task of what was read, then right answers by distance, at longer lengths too.

Associative recall, selective copying, induction heads, a needle: benchmarks/tasks/. What binds is
the state: how much of it there is, and whether a budget of steps teaches its use.
"""

from collections.abc import Callable

from results import Case


def bench_recall(case: Case, cell: Callable[[Case], None]) -> None:
    cell(case)
