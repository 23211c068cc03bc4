"""Decode: one token after a context already read.

Bound by reading weights and state once a token; when both are small, by launching the kernels.
"""

from collections.abc import Callable

from results import Case


def bench_decode(case: Case, cell: Callable[[Case], None]) -> None:
    cell(case)
