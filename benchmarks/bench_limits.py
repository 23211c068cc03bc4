"""Limits: the largest batch at a length, and the greatest length at batch 1, that fit into memory.

Found by bisection. Training holds activations, prefill and decode hold states; decode's memory is
that of reading its context at once, and the tokens after it.
"""

from collections.abc import Callable

from results import Case


def bench_limits(case: Case, cell: Callable[[Case], None]) -> None:
    cell(case)
