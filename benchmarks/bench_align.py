"""Alignment: instructions, then preferences, learned by every architecture in the same steps.

What fine-tuning buys, how many preferences a reward model takes, and what becomes of the reward
that is meant when the one that was learned is optimised.
"""

from collections.abc import Callable

from results import Case


def bench_align(case: Case, cell: Callable[[Case], None]) -> None:
    cell(case)
