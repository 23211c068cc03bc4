"""Infill: one trunk trained to fill in masked tokens or to go on; gaps filled, states probed."""

from collections.abc import Callable

from results import Case


def bench_infill(case: Case, cell: Callable[[Case], None]) -> None:
    cell(case)
