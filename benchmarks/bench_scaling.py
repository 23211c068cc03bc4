"""Scaling: the same training FLOPs spent on models of many sizes, and one text read many times.

What binds is either the model, too small for what there is to learn, or the text, too little for
the model.
"""

from collections.abc import Callable

from results import Case


def bench_scaling(case: Case, cell: Callable[[Case], None]) -> None:
    cell(case)
