"""Which Records speak for an architecture: the best learning rate, in a setting all share."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from itertools import groupby

import pandas as pd

from report.losses import evaluation, nats_per_token
from results import Record


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What must be equal for two architectures to be compared."""

    phase: str
    seq_len: int
    batch: int
    dtype: str
    corpus: str = ""
    tokens: int = 0


SETTING = [field.name for field in fields(Setting)]


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
    held_out = evaluation(record, "valid", record.case.seq_len)
    return nats_per_token(held_out) if held_out and record.status == "ok" else None


def _rivals(record: Record) -> tuple[object, ...]:
    """What runs that differ in nothing but the learning rate have in common."""
    case = record.case
    run = (case.seq_len, case.tokens or 0, case.corpus or "", case.batch, case.dtype, case.seed)
    return record.label, case.size, case.arch, *run


def best_learning_rates(records: Iterable[Record]) -> Iterator[Chosen]:
    """One run for each group of rivals: where none has a validation loss, any, as it failed."""
    quality = sorted((r for r in records if r.case.phase == "quality"), key=_rivals)
    tried: dict[tuple[object, ...], set[float]] = defaultdict(set)
    for record in quality:
        tried[_rivals(record)[:-1]].add(record.case.lr or 0.0)
    for key, group in groupby(quality, key=_rivals):
        rivals = list(group)
        losses = [(nats, i) for i, r in enumerate(rivals) if (nats := valid_nats(r)) is not None]
        best = rivals[min(losses)[1]] if losses else rivals[0]
        yield Chosen(record=best, lrs=tuple(sorted(tried[key[:-1]])))


def _preference(candidate: tuple[int, Setting]) -> tuple[int, ...]:
    count, setting = candidate
    # where both were measured, bfloat16 is what such a machine is bought for
    return count, setting.tokens, setting.seq_len, setting.batch, int(setting.dtype == "bfloat16")


def common_setting(rows: pd.DataFrame) -> Setting | None:
    """The setting in which most architectures have a value; among equals the longest."""
    candidates = []
    for _, group in rows.groupby(SETTING):
        first = group.to_dict("records")[0]
        setting = Setting(**{name: first[name] for name in SETTING})
        candidates.append((group[group["value"].notna()]["arch"].nunique(), setting))
    return max(candidates, key=_preference)[1] if candidates else None


def within(rows: pd.DataFrame, setting: Setting) -> pd.DataFrame:
    return rows[(rows[SETTING] == list(astuple(setting))).all(axis=1)]


def one_batch_per_length(rows: pd.DataFrame) -> pd.DataFrame:
    """At each length one batch: measured for most architectures, then lengths, then largest."""
    rows = rows[rows["dtype"] == rows["dtype"].mode()[0]] if len(rows) else rows
    kept = []
    for _, at_length in rows.groupby("seq_len"):
        _, _, batch = max(
            (group["arch"].nunique(), rows[rows["batch"] == batch]["seq_len"].nunique(), batch)
            for batch, group in at_length.groupby("batch")
        )
        kept.append(at_length[at_length["batch"] == batch])
    return pd.concat(kept) if kept else rows
