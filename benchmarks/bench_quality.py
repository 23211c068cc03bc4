"""Quality: train on real text to a token budget, then held-out loss at several context lengths."""

from collections.abc import Callable

from results import Case


def bench_quality(case: Case, cell: Callable[[Case], None]) -> None:
    cell(case)
