"""Prefill: read a prompt into fresh state and score its next token: the time to first token.

Compute-bound, as training's forward pass is.
"""

from collections.abc import Callable

from results import Case


def bench_prefill(case: Case, cell: Callable[[Case], None]) -> None:
    cell(case)
