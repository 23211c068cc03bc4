"""Where the time of a peers' pair goes: each side's step by kind of torch op."""

from collections.abc import Iterable, Mapping
from statistics import median

import pandas as pd

from report.peers import pairs
from report.units import show
from results import Record

# by what an op's name holds, the first that fits; the rest of a step is Python
KINDS = {
    "weights": ("::mm", "::addmm", "mkldnn_linear", "mkl_linear", "_linear_pointwise"),
    "attention": ("attention",),
    "other ops": ("",),
}


def _by_kind(op_s: Mapping[str, float]) -> dict[str, float]:
    seconds = dict.fromkeys(KINDS, 0.0)
    for op, spent in op_s.items():
        kind = next(kind for kind, parts in KINDS.items() if any(part in op for part in parts))
        seconds[kind] += spent
    return seconds


def profile(records: Iterable[Record]) -> pd.DataFrame:
    """A row for each side of each eager pair that was profiled: a step as timed, and, in a
    profiled one, the products with weights, attention and all other ops. An op takes longer
    under the profiler."""
    rows = []
    for ours, theirs in pairs(records):
        for side, record in (("ours", ours), ("theirs", theirs)):
            if ours.case.mode == "eager" and record.op_s:
                names = {
                    "arch": theirs.case.arch,
                    "phase": theirs.case.phase.removeprefix("peer-"),
                    "against": theirs.case.impl,
                    "side": side,
                    "step": show(median(record.step_s), "s"),
                }
                kinds = _by_kind(record.op_s)
                rows.append(names | {kind: show(kinds[kind], "s") for kind in KINDS})
    frame = pd.DataFrame(rows, columns=["arch", "phase", "against", "side", "step", *KINDS])
    return frame.sort_values(["phase", "arch", "against", "side"], ignore_index=True)
