"""Compression: train as for quality, then code held-out text losslessly and decode it again."""

from collections.abc import Callable

from results import Case


def bench_compress(case: Case, cell: Callable[[Case], None]) -> None:
    cell(case)
