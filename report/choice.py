"""Which Records speak for an architecture: the best learning rate, in a setting all share."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd

from report.losses import evaluation, nats_per_answer, nats_per_token, tally
from results import Case, Record
from results.schema import LEARNED


class Setting(NamedTuple):
    """What must be equal for two architectures to be compared."""

    phase: str
    seq_len: int
    batch: int
    dtype: str
    mode: str = "eager"
    kernel: str = "auto"
    short_conv: str = ""  # on or off; empty: as published
    ranks: str = ""  # how many, and what each has a part of; empty: one process
    corpus: str = ""
    tokenizer: str = "bytes"
    tokens: int = 0  # 0 also where FLOPs are the budget: then they differ by architecture
    flops: int = 0
    task: str = ""
    load: int = 0
    masked: float = 0.0  # the share of tokens; 0: trained to go on, or of another phase


_SHORT_CONV = {None: "", True: "on", False: "off"}


def setting_of(case: Case) -> Setting:
    return Setting(
        phase=case.phase,
        seq_len=case.seq_len,
        batch=case.batch,
        dtype=case.dtype,
        mode=case.mode,
        kernel=case.kernel,
        short_conv=_SHORT_CONV[case.short_conv],
        ranks=f"{case.ranks} ranks, {case.shard}" if case.ranks > 1 else "",
        corpus=case.corpus or "",
        tokenizer=case.tokenizer,
        tokens=(case.tokens or 0) * (case.flops is None),
        flops=case.flops or 0,
        task=case.task or "",
        load=case.load or 0,
        masked=case.masked or 0.0,
    )


def run_in(records: Iterable[Record], setting: Setting) -> list[Record]:
    # most differ in what is cheap to read
    near = (r for r in records if r.case.seq_len == setting.seq_len)
    return [record for record in near if setting_of(record.case) == setting]


def unusual(mode: str, kernel: str, short_conv: str, ranks: str) -> list[str]:
    """A word for each way in which a run is not the usual one."""
    words = [mode] * (mode != "eager") + [f"{kernel} kernels"] * (kernel != "auto")
    words += [f"short convolution {short_conv}"] * (short_conv != "")
    return words + [ranks] * (ranks != "")


MODES = ("eager", "compile", "graph")  # the later, the nearer to how a model is served
SETTING = list(Setting._fields)


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The run of one architecture and seed whose learning rate did best on validation."""

    record: Record
    lrs: tuple[float, ...]  # every learning rate tried with any seed, ascending

    @property
    def at_edge(self) -> bool:
        """Whether a learning rate outside those tried could have done better still."""
        return self.record.case.lr in (self.lrs[0], self.lrs[-1])


def valid_nats(record: Record) -> float | None:
    """The loss that choices are made by: of a token of text, or of an answer to a task."""
    if record.status != "ok":
        return None
    if record.case.task is not None:
        answered = tally(record, "valid", record.case.seq_len)
        return nats_per_answer(answered) if answered else None
    held_out = evaluation(record, "valid", record.case.seq_len)
    return nats_per_token(held_out) if held_out else None


def _rivals(record: Record) -> tuple[object, ...]:
    """What runs that differ in nothing but the learning rate have in common."""
    case = record.case
    return record.label, case.size, case.arch, *setting_of(case), case.seed


def best_learning_rates(records: Iterable[Record]) -> Iterator[Chosen]:
    """One run for each group of rivals: where none has a validation loss, any, as it failed."""
    trained = sorted((r for r in records if r.case.phase in LEARNED), key=_rivals)
    tried: dict[tuple[object, ...], set[float]] = defaultdict(set)
    for record in trained:
        tried[_rivals(record)[:-1]].add(record.case.lr or 0.0)
    for key, group in groupby(trained, key=_rivals):
        rivals = list(group)
        losses = [(nats, i) for i, r in enumerate(rivals) if (nats := valid_nats(r)) is not None]
        best = rivals[min(losses)[1]] if losses else rivals[0]
        yield Chosen(record=best, lrs=tuple(sorted(tried[key[:-1]])))


def _preference(candidate: tuple[int, Setting]) -> tuple[int, ...]:
    count, setting = candidate
    # where both were measured, bfloat16 is what such a machine is bought for
    how = int(setting.dtype == "bfloat16"), MODES.index(setting.mode)
    usual = int(setting.kernel == "auto"), int(setting.short_conv == ""), int(setting.ranks == "")
    return count, setting.tokens, setting.flops, setting.seq_len, setting.batch, *how, *usual


def settings(rows: pd.DataFrame) -> list[Setting]:
    """The setting of each row."""
    return list(map(Setting._make, zip(*(rows[name].tolist() for name in SETTING), strict=True)))


def common_setting(rows: pd.DataFrame) -> Setting | None:
    """The setting in which most architectures have a value; among equals the longest."""
    finished: dict[Setting, set[str]] = {}
    for key, arch, value in zip(settings(rows), rows["arch"], rows["value"].notna(), strict=True):
        finished.setdefault(key, set()).update([arch] * value)
    candidates = [(len(finished[setting]), setting) for setting in sorted(finished)]
    return max(candidates, key=_preference)[1] if candidates else None


def within(rows: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    return rows[np.array([each == setting for each in settings(rows)], bool)]


HOW = ["dtype", "mode", "kernel", "short_conv", "ranks"]


def _most_used(run: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """How most were run, all of HOW together; among equals the one nearest to use."""
    counts = Counter(run)

    def preference(how: tuple[str, ...]) -> tuple[int, ...]:
        dtype, mode, kernel, short_conv, ranks = how
        nearest = int(dtype == "bfloat16"), MODES.index(mode), int(kernel == "auto")
        return counts[how], *nearest, int(short_conv == ""), int(ranks == "")

    return max(counts, key=preference)


def one_batch_per_length(rows: pd.DataFrame) -> pd.DataFrame:
    """At each length one batch: measured for most architectures, then lengths, then largest."""
    if rows.empty:
        return rows
    run = list(zip(*(rows[name].tolist() for name in HOW), strict=True))
    most = _most_used(run)
    rows = rows[[how == most for how in run]]
    cells = list(zip(rows["seq_len"].tolist(), rows["batch"].tolist(), strict=True))
    archs: dict[tuple[int, int], set[str]] = {}
    lengths: dict[int, set[int]] = {}
    for (length, batch), arch in zip(cells, rows["arch"], strict=True):
        archs.setdefault((length, batch), set()).add(arch)
        lengths.setdefault(batch, set()).add(length)
    best: dict[int, tuple[int, int, int]] = {}
    for (length, batch), known in archs.items():
        best[length] = max(best.get(length, (0, 0, 0)), (len(known), len(lengths[batch]), batch))
    kept = rows[[batch == best[length][-1] for length, batch in cells]]
    return kept.sort_values("seq_len", kind="stable")
