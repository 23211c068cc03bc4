"""The life of a model: what each architecture costs to pre-train, to fine-tune, to move towards a
reward, and to serve, side by side.

Each stage is what its own Records say, of one size on one machine: the sweep's for pre-training and
serving, alignment's for the rest. They are not one model's: the models that are aligned have read
instructions made by rules, not the text that quality is trained on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import pandas as pd

from report import align
from report.choice import Setting, common_setting, run_in, within
from report.claims.evidence import Evidence
from report.compare import trained_setting
from report.losses import bits_per_byte, evaluation
from report.parts import Key
from report.roofline import training_flops
from report.studies import Study
from report.summary import NOTHING
from report.table import of_metric
from report.units import show, show_count, show_length
from results import Optimised, Record

SERVED = (
    ("prefill_throughput", "prefill", "serving: reading, tokens/s", max),
    ("decode_throughput", "decode", "serving: writing, tokens/s", max),
    ("state", "prefill", "serving: state a sequence", min),
)
METHOD = "rloo"
LEAD = (
    "Each stage from Records of its own: pre-training and serving from the sweep, fine-tuning and "
    "reinforcement learning from alignment's models, of the same architecture and size but taught "
    "instructions made by rules. A star marks the best of a column. Reinforcement learning is "
    "RLOO: its steps draw answers (generating), then score them and learn (updating)."
)
TITLE = "What each stage costs"


class Cell(NamedTuple):
    """A number, and how it is written."""

    value: float
    text: str


@dataclass(frozen=True, kw_only=True)
class Raised:
    """Of each architecture of a sweep what its pre-training and its serving come to."""

    at: str  # the settings, in words
    stages: dict[str, dict[str, Cell]]  # by architecture, then by column


def _pretraining(records: Sequence[Record]) -> dict[str, Cell]:
    """Mean over seeds."""
    found = {"pre-training: time": fmean(r.train_s for r in records if r.train_s is not None)}
    cells = {name: Cell(value, show(value, "s")) for name, value in found.items()}
    flops = [flops for r in records if (flops := training_flops(r)) is not None]
    if flops:
        mean = fmean(flops)
        cells["pre-training: FLOPs"] = Cell(mean, show_count(round(mean)))
    tests = (evaluation(r, "test", r.case.seq_len) for r in records)
    bits = [bits for test in tests if test and (bits := bits_per_byte(test)) is not None]
    if bits:
        cells["bits per byte"] = Cell(fmean(bits), show(fmean(bits), "bits/byte"))
    return cells


def _at(setting: Setting) -> str:
    return f"{show_length(setting.seq_len)} tokens at batch {setting.batch}"


def raised(evidence: Evidence) -> Raised | None:
    """None where no quality was measured."""
    trained = trained_setting(evidence.rows)
    if trained is None:
        return None
    stages: dict[str, dict[str, Cell]] = {}
    picks = (pick.record for pick in evidence.chosen)
    own = [r for r in run_in(picks, trained) if r.case.phase == "quality" and r.train_s]
    for arch in sorted({r.case.arch for r in own}):
        stages[arch] = _pretraining([r for r in own if r.case.arch == arch])
    words = [f"pre-training on {show_count(trained.tokens)} tokens"]
    for metric, phase, column, _ in SERVED:
        rows = of_metric(evidence.rows, metric, phase)
        setting = common_setting(rows)
        if setting is None:
            continue
        words += [f"{column.partition(': ')[2].partition(',')[0]} {_at(setting)}"]
        for row in within(rows, setting).dropna(subset=["value"]).to_dict("records"):
            cell = Cell(row["value"], show(row["value"], row["unit"]))
            stages.setdefault(row["arch"], {})[column] = cell
    return Raised(at="; ".join(words), stages=stages)


def _rate(ours: Iterable[Optimised], work: str) -> Cell | None:
    spent = [s for one in ours for s in one.spent if s.work == work]
    if not spent:
        return None
    rate = align.tokens_per_s(spent)
    return Cell(rate, show(rate, "tokens/s"))


def _aligned(records: Sequence[Record]) -> dict[str, Cell]:
    """Mean over seeds; of steps the median."""
    tuned = [align.fine_tuned(record) for record in records]
    spent_s = fmean(one.train_s for one in tuned)
    cells = {"fine-tuning: time": Cell(spent_s, show(spent_s, "s"))}
    after = [share for one in tuned if (share := align.exact(one.answered)) is not None]
    if after:
        before = [align.exact(align.lesson(r, "pretrained on").answered) or 0.0 for r in records]
        text = f"{show(fmean(before), 'fraction')} → {show(fmean(after), 'fraction')}"
        cells["right throughout, before → after"] = Cell(fmean(after), text)
    ours = [one for r in records for one in r.optimised if one.method == METHOD]
    for work in ("generate", "update"):
        if (rate := _rate(ours, work)) is not None:
            cells[f"RL: {work[:-1]}ing, tokens/s"] = rate
    if ours:
        peak = max(s.peak_bytes for one in ours for s in one.spent)
        cells["RL: peak memory"] = Cell(peak, show(peak, "bytes"))
    return cells


BEST = {
    "pre-training: time": min,
    "pre-training: FLOPs": min,
    "bits per byte": min,
    "fine-tuning: time": min,
    "right throughout, before → after": max,
    "RL: generating, tokens/s": max,
    "RL: updating, tokens/s": max,
    "RL: peak memory": min,
} | {column: best for _, _, column, best in SERVED}


def table(told: Raised, course: align.Course) -> pd.DataFrame:
    """A row for each architecture that was aligned and swept; empty where there is none."""
    archs = [arch for arch in course.archs if told.stages.get(arch)]
    lives = {
        arch: told.stages[arch] | _aligned(list(course.archs[arch].values())) for arch in archs
    }
    rows = pd.DataFrame({"architecture": archs})
    for column, best in BEST.items():
        cells = [lives[arch].get(column) for arch in archs]
        values = [cell.value for cell in cells if cell is not None]
        if values:
            ahead = best(values)
            rows[column] = [
                NOTHING if cell is None else cell.text + " *" * (cell.value == ahead)
                for cell in cells
            ]
    return rows


def lives(swept: Iterable[tuple[Key, Raised | None]], others: Sequence[Record]) -> list[Study]:
    """Of each label and size that was both swept and aligned."""
    found = []
    for (label, size), told in swept:
        own = [r for r in others if (r.label, r.case.size) == (label, size)]
        if told is None:
            continue
        tables = [
            (f"{TITLE}, taught {course.instructions}", rows)
            for course in align.courses(own)
            if len(rows := table(told, course))
        ]
        if tables:
            found.append(
                Study(
                    title=f"Life of a model on {label}, size {size}",
                    lead=f"{LEAD} Here: {told.at}.",
                    drawings=[],
                    tables=tables,
                    failures=[],
                )
            )
    return found
