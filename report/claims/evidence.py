"""What a claim is judged by: the Records of one label and size, and what they say of families.

A family is read from the ops that ran, a fact in each Record; no architecture is known by name.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Literal

import pandas as pd

from report.attainment import Attained
from report.choice import Chosen, Setting, one_batch_per_length, setting_of, settings
from report.metrics import COST_PHASES, METRICS
from report.statistics import Estimate, growth, mean
from report.table import of_metric
from results import Record

ATTENTION = frozenset({"attention", "differential_attention"})  # to the whole past
WINDOW, CONVOLUTION = "window_attention", "long_conv"
STATE_SPACE = frozenset({"selective_scan", "ssd", "trapezoidal_scan"})
LINEAR = frozenset({"gated_linear_attention", "gated_delta_rule", "generalised_delta_rule"})
SCANS = STATE_SPACE | LINEAR | {"linear_scan"}  # linear in the state: a sequence is one scan
# they carry no past, or little
LOCAL = frozenset({"rms_norm", "cross_entropy", "short_conv", "experts"})
SEEDS = 3  # fewer make no claim about what was trained

# what carries the past: attention to all of it or to a window, a scan, attention and a scan, a
# convolution over all of it, or none of these: a recurrence taken step by step
Family = Literal["attention", "window", "scan", "both", "convolution", "nonlinear"]
Verdict = Literal["supported", "refuted", "not decided"]
Seeds = dict[int, Record]  # one architecture's runs in one setting


@dataclass(frozen=True, kw_only=True)
class Judgement:
    verdict: Verdict
    measured: list[str]  # figures with their intervals, a sentence each
    records: list[Record]  # what they were read from


def undecided(*why: str) -> Judgement:
    return Judgement(verdict="not decided", measured=list(why), records=[])


@dataclass(frozen=True, kw_only=True)
class Range:
    low: float = -inf
    high: float = inf

    def holds(self, estimate: Estimate) -> bool:
        """All of the interval, not only its middle."""
        return self.low <= estimate.low and estimate.high <= self.high


def decide(estimate: Estimate | None, supports: Range, refutes: Range) -> Verdict:
    """The ranges do not meet; an interval that lies in neither decides nothing."""
    if estimate is None:
        return "not decided"
    if supports.holds(estimate):
        return "supported"
    return "refuted" if refutes.holds(estimate) else "not decided"


def together(judged: Iterable[Judgement]) -> Judgement:
    """A sentence about several architectures: one refutes it, all of them support it."""
    every = list(judged)
    verdicts = {one.verdict for one in every}
    verdict: Verdict = "not decided"
    if "refuted" in verdicts:
        verdict = "refuted"
    elif verdicts == {"supported"}:
        verdict = "supported"
    return Judgement(
        verdict=verdict,
        measured=[sentence for one in every for sentence in one.measured],
        records=[record for one in every for record in one.records],
    )


def say(estimate: Estimate | None, unit: str = "", digits: int = 2) -> str:
    if estimate is None:
        return "without an interval"
    low, high = f"{estimate.low:.{digits}f}", f"{estimate.high:.{digits}f}"
    return f"{estimate.value:.{digits}f}{unit} ({low} to {high})".replace("-", "−")


def say_share(estimate: Estimate | None) -> str:
    """In percent, and no more than all."""
    if estimate is None:
        return "an unknown share"
    low, high = max(0.0, estimate.low), min(1.0, estimate.high)
    return f"{100 * estimate.value:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def say_points(estimate: Estimate | None) -> str:
    """A difference of two shares, in points of a hundred."""
    if estimate is None:
        return "without an interval"
    scaled = (100 * number for number in (estimate.value, estimate.low, estimate.high))
    value, low, high = (f"{number:+.1f}".replace("-", "−") for number in scaled)
    return f"{value} points ({low} to {high})"


def seeds_mean(values: Sequence[float]) -> Estimate | None:
    return mean(values) if len(values) >= SEEDS else None


def family(ops: set[str]) -> Family:
    if ops & (ATTENTION | {WINDOW}):
        if ops & SCANS:
            return "both"
        return "attention" if ops & ATTENTION else "window"
    if CONVOLUTION in ops:
        return "convolution"
    return "scan" if ops & SCANS else "nonlinear"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All Records of one label and size, with the report's reading of them."""

    records: list[Record]
    rows: pd.DataFrame  # report.table.tidy of them
    chosen: list[Chosen]
    attained: list[Attained]

    @cached_property
    def ops(self) -> dict[str, set[str]]:
        """What carried the past in each architecture; where no Record says, it has no family."""
        ran: dict[str, set[str]] = {}
        for record in self.records:
            if carriers := record.kernels.keys() - LOCAL:
                ran.setdefault(record.case.arch, set()).update(carriers)
        return ran

    def archs(self, *families: Family) -> list[str]:
        return sorted(arch for arch, ops in self.ops.items() if family(ops) in families)

    @property
    def on_gpu(self) -> bool:
        return self.records[0].machine.get("device") == "cuda"

    @cached_property
    def tier(self) -> str:
        """How large a world the verdicts are about."""
        params = {record.case.size: record.params or 0 for record in self.records}
        smallest, *_, largest = sorted(params, key=lambda size: params[size]) * 2
        size = f"size {smallest}" if smallest == largest else f"sizes {smallest} to {largest}"
        return f"{'GPU' if self.on_gpu else 'CPU'}, {size}"

    def cells(self, metric: str, phase: str) -> dict[str, list[Record]]:
        """Each architecture's timed cells over length: one batch a length, run alike."""
        rows = one_batch_per_length(of_metric(self.rows, metric, phase))
        found: dict[str, list[Record]] = {}
        for setting in sorted(set(settings(rows)), key=lambda setting: setting.seq_len):
            for record in self._timed.get(setting, []):
                if METRICS[metric].of(record) is not None:
                    found.setdefault(record.case.arch, []).append(record)
        return found

    @cached_property
    def _timed(self) -> dict[Setting, list[Record]]:
        found: dict[Setting, list[Record]] = {}
        for record in self.records:
            if record.case.phase in COST_PHASES:
                found.setdefault(setting_of(record.case), []).append(record)
        return found

    def trained(self, phase: str) -> dict[Setting, dict[str, Seeds]]:
        """What was trained in each setting: by architecture and seed, at the best learning rate."""
        found: dict[Setting, dict[str, Seeds]] = {}
        for record in (pick.record for pick in self.chosen):
            if record.case.phase == phase and record.status == "ok":
                runs = found.setdefault(setting_of(record.case), {})
                runs.setdefault(record.case.arch, {})[record.case.seed] = record
        return found


def grown(metric: str, records: Sequence[Record]) -> Estimate | None:
    """The power of length that a metric grows with over these cells."""
    values = {id(record): METRICS[metric].of(record) for record in records}
    known = [record for record in records if values[id(record)]]
    return growth(
        [record.case.seq_len for record in known], [values[id(record)] or 0 for record in known]
    )


def half(records: Sequence[Record], *, longer: bool) -> list[Record]:
    """The longer or shorter half of the lengths, but three at least."""
    lengths = sorted({record.case.seq_len for record in records})
    count = max(3, -(-len(lengths) // 2))
    kept = lengths[-count:] if longer else lengths[:count]
    return [record for record in records if record.case.seq_len in kept]
