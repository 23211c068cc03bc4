"""Against what you would use otherwise: pairs of Records, ours and a peer's, as ratios."""

from collections.abc import Iterable, Mapping
from statistics import median, quantiles
from typing import Any

import pandas as pd

from report.summary import NOTHING
from report.units import show, show_length, show_ratio
from results import Record

TITLE = "Against what you would use otherwise"
EXPLANATION = (
    "The same weights on both sides, which were timed in turn on one core and one thread. Train is "
    "forward, loss and backward of one sequence; decode is one token after a context of that "
    "length. Times are medians of CPU time; the ratio is the median of those of neighbouring "
    "samples, and brackets hold their middle half. Memory is what a training step needs above the "
    "weights. A pair whose losses, gradients or logits are further apart than 1e-3 is refused. "
    "Where our step went through torch.compile its mode says so; theirs ran as it is shipped."
)
OURS = "seqfrontier-beside-"  # and then the peer's name
THEIRS = "theirs"
NAMES = ("arch", "against", "phase, length", "machine")  # columns of `text` that are no numbers
MAY_BE_MISSING = ("ratio", "low", "high", "memory_ratio", "loss_difference")
BROKEN = ("against", "phase, length", "times ours")  # those that a terminal has in two lines
COLUMNS = [
    "label",
    "arch",
    "mode",
    "peer",
    "version",
    "phase",
    "seq_len",
    "samples",
    "ours_s",
    "theirs_s",
    "ratio",
    "low",
    "high",
    "memory_ratio",
    "loss_difference",
    "status",
]


def is_peers(record: Record) -> bool:
    """Whether it belongs to a pair, and not to the sweep."""
    return record.case.phase.startswith("peer")


def pairs(records: Iterable[Record]) -> list[tuple[Record, Record]]:
    """Each of ours, and theirs; a side alone says nothing, nor do two not timed in turn."""
    found: dict[tuple[object, ...], dict[str, Record]] = {}
    for record in filter(is_peers, records):
        case = record.case
        setting = (case.arch, case.impl.removeprefix(OURS), case.size, case.seq_len, case.batch)
        run = (record.label, case.phase, case.dtype, case.kernel, case.seed)
        side = case.mode if case.impl.startswith(OURS) else THEIRS
        found.setdefault((*setting, *run), {})[side] = record
    return [
        (record, sides[THEIRS])
        for sides in found.values()
        for side, record in sides.items()
        if side != THEIRS and THEIRS in sides and _in_turn(record, sides[THEIRS])
    ]


def _in_turn(ours: Record, theirs: Record) -> bool:
    # theirs has no samples where it ran out of memory
    ran = len(theirs.step_s) if theirs.status == "ok" else len(ours.step_s)
    return 0 < len(ours.step_s) == ran


def _version(ours: Record, theirs: Record) -> str:
    """Of the package that only their side used; of torch where that is all they used."""
    only = theirs.versions.keys() - ours.versions.keys()
    return theirs.versions.get(min(only, default="torch"), "unknown")


def _row(ours: Record, theirs: Record) -> dict[str, object]:
    paired = [
        their / our for our, their in zip(ours.step_s, theirs.step_s, strict=theirs.status == "ok")
    ]
    low, _, high = quantiles(paired, n=4, method="inclusive") if len(paired) > 1 else [None] * 3
    peaks = ours.peak_bytes, theirs.peak_bytes
    return {
        "label": theirs.label,
        "arch": theirs.case.arch,
        "mode": ours.case.mode,
        "peer": theirs.case.impl,
        "version": _version(ours, theirs),
        "phase": theirs.case.phase.removeprefix("peer-"),
        "seq_len": theirs.case.seq_len,
        "samples": len(paired),
        "ours_s": median(ours.step_s),
        "theirs_s": median(theirs.step_s) if paired else None,
        "ratio": median(paired) if paired else None,
        "low": low,
        "high": high,
        "memory_ratio": peaks[1] / peaks[0] if peaks[0] and peaks[1] else None,
        "loss_difference": _apart(ours, theirs),
        "status": theirs.status,
    }


def _apart(ours: Record, theirs: Record) -> float | None:
    if not (theirs.train_nats and ours.train_nats and theirs.train_nats[0]):
        return None
    our_nats, their_nats = ours.train_nats[0], theirs.train_nats[0]
    return abs(our_nats - their_nats) / their_nats


def ratios(records: Iterable[Record]) -> pd.DataFrame:
    """A row for each pair that was measured."""
    rows = [_row(*pair) for pair in pairs(records)]
    order = ["label", "seq_len", "arch", "phase", "peer", "mode"]
    frame = pd.DataFrame(rows, columns=COLUMNS).sort_values(order, ignore_index=True)
    return frame.astype(dict.fromkeys(("theirs_s", *MAY_BE_MISSING), float))


def _spread(row: Mapping[Any, Any]) -> str:
    if row["status"] != "ok":
        return "theirs: out of memory"
    ratio, low, high = (show_ratio(row[name]) for name in ("ratio", "low", "high"))
    return f"{ratio}×" if pd.isna(row["low"]) else f"{ratio}× ({low}–{high})"


def _asked(row: Mapping[Any, Any]) -> str:
    mode = "" if row["mode"] == "eager" else f", {row['mode']}"
    return f"{row['phase']} {show_length(row['seq_len'])}{mode}"


def _difference(apart: float) -> str:
    return NOTHING if pd.isna(apart) else f"{apart:.0e}".removesuffix("e+00")


def _memory(row: Mapping[Any, Any]) -> str:
    # what a decode step allocates beside its cache is kilobytes on either side
    told = row["phase"] == "train" and pd.notna(row["memory_ratio"])
    return f"{show_ratio(row['memory_ratio'])}×" if told else NOTHING


def text(frame: pd.DataFrame) -> pd.DataFrame:
    """`ratios` for people."""
    rows = frame.to_dict("records")
    shown = {
        "arch": [row["arch"] for row in rows],
        "against": [f"{row['peer']} {row['version']}" for row in rows],
        "phase, length": [_asked(row) for row in rows],
        "ours": [show(row["ours_s"], "s") for row in rows],
        "theirs": [
            NOTHING if pd.isna(row["theirs_s"]) else show(row["theirs_s"], "s") for row in rows
        ],
        "times ours": [_spread(row) for row in rows],
        "memory, times ours": [_memory(row) for row in rows],
        "losses apart by": [_difference(row["loss_difference"]) for row in rows],
    }
    several = frame["label"].nunique() > 1
    machines = {"machine": [row["label"] for row in rows]} if several else {}
    return pd.DataFrame(shown | machines)
