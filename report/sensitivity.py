"""How much a learning rate matters: validation loss at each one tried, the best with a *."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby
from math import exp

import pandas as pd

from report.choice import Setting, setting_of, unusual, valid_nats
from report.summary import ARCH, NOTHING
from report.units import show_count, show_length
from results import Record
from results.schema import LEARNED

FEWEST = 3  # rates, for a curve


def _title(setting: Setting) -> str:
    if setting.task:
        what = f"{setting.task} {setting.load}: validation nats an answer"
    else:
        what = f"{setting.corpus}: validation perplexity a token"
    how = unusual(setting.mode, setting.kernel, setting.short_conv, setting.ranks)
    budget = (
        f"{show_count(setting.tokens or setting.flops)} {'tokens' if setting.tokens else 'FLOPs'}"
    )
    return ", ".join([what, f"length {show_length(setting.seq_len)}", *how, budget])


def _shown(nats: float, setting: Setting) -> str:
    if not setting.task:
        return f"{exp(nats):.2f}"
    return f"{nats:.2g}" if nats < 0.1 else f"{nats:.3f}"


def _row(runs: dict[float, Record], lrs: list[float], setting: Setting) -> list[str]:
    losses = {lr: valid_nats(record) for lr, record in runs.items()}
    known = {lr: nats for lr, nats in losses.items() if nats is not None}
    best = min(known, key=lambda lr: known[lr]) if known else None
    return [
        f"{_shown(known[lr], setting)} *"
        if lr == best
        else _shown(known[lr], setting)
        if lr in known
        else runs[lr].status
        if lr in runs
        else NOTHING
        for lr in lrs
    ]


def curves(records: Iterable[Record]) -> Iterator[tuple[str, pd.DataFrame]]:
    """For each setting in which rates were tried, a table of architectures by rate, of the first
    seed. The best is the lowest loss; what did not finish has its status in place of a loss."""
    trained = [r for r in records if r.case.phase in LEARNED and r.case.lr is not None]
    first = min((record.case.seed for record in trained), default=0)
    trained = [record for record in trained if record.case.seed == first]

    def place(record: Record) -> tuple[str, ...]:
        return tuple(map(str, setting_of(record.case)))

    for _, group in groupby(sorted(trained, key=place), key=place):
        runs: dict[str, dict[float, Record]] = defaultdict(dict)
        for record in group:
            assert record.case.lr is not None
            runs[record.case.arch][record.case.lr] = record
            setting = setting_of(record.case)
        runs = {arch: by_lr for arch, by_lr in sorted(runs.items()) if len(by_lr) >= FEWEST}
        if not runs:
            continue
        lrs = sorted({lr for by_lr in runs.values() for lr in by_lr})
        rows = [[arch, *_row(by_lr, lrs, setting)] for arch, by_lr in runs.items()]
        yield _title(setting), pd.DataFrame(rows, columns=[ARCH, *(f"{lr:g}" for lr in lrs)])
