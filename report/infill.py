"""What one trunk understood of text, trained to fill in masked tokens or to go on.

Losses of the two are different quantities, as a masked token is told from both sides and the next
one from before it; a pseudo-log-likelihood is no code length. What both can be asked alike is to
fill gaps, and what their frozen states say of where a text is from.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

import pandas as pd

from report.choice import Setting, best_learning_rates, setting_of, unusual
from report.losses import evaluation, nats_per_token
from report.roofline import training_flops
from report.statistics import Estimate, mean
from report.units import show, show_count
from results import Evaluation, Record

PHASE = "infill"


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One architecture trained one way: a Record a seed, at the rate that validation chose."""

    arch: str
    setting: Setting
    seeds: dict[int, Record] = field(compare=False)

    @property
    def masked(self) -> float:
        """The share of tokens; 0: trained to go on."""
        return self.setting.masked

    @property
    def trunk(self) -> tuple[object, ...]:
        """What is alike where only what was asked in training differs."""
        size = next(iter(self.seeds.values())).case.size
        return self.arch, size, *self.setting._replace(masked=0.0)

    @property
    def objective(self) -> str:
        return f"{show(self.masked, 'fraction')} masked" if self.masked else "next token"

    @property
    def records(self) -> list[Record]:
        return [self.seeds[seed] for seed in sorted(self.seeds)]

    def by_seed(self, value: "Value") -> dict[int, float]:
        told = {seed: value(record) for seed, record in self.seeds.items()}
        return {seed: number for seed, number in told.items() if number is not None}


Value = Callable[[Record], float | None]


def trainings(records: Iterable[Record]) -> list[Trained]:
    """Those that finished; an architecture's own side by side, to go on first."""
    ran = [record for record in records if record.case.phase == PHASE]
    found: dict[tuple[str, str, Setting], dict[int, Record]] = defaultdict(dict)
    for record in (pick.record for pick in best_learning_rates(ran)):
        if record.status == "ok":
            key = record.case.arch, record.case.size, setting_of(record.case)
            found[key][record.case.seed] = record
    return [
        Trained(arch=arch, setting=setting, seeds=seeds)
        for (arch, _, setting), seeds in sorted(found.items(), key=lambda item: item[0])
    ]


def pairs(found: Iterable[Trained]) -> list[tuple[Trained, Trained]]:
    """The same trunk trained masked and to go on."""
    one_way, every = {}, list(found)
    for one in every:
        if not one.masked:
            one_way[one.trunk] = one
    return [(one, one_way[one.trunk]) for one in every if one.masked and one.trunk in one_way]


def _bits(held_out: Evaluation | None) -> float | None:
    nats = nats_per_token(held_out) if held_out else None
    return None if nats is None else nats / math.log(2)


def loss_bits(record: Record) -> float | None:
    """A token that was asked, whichever those are."""
    return _bits(evaluation(record, "test", record.case.seq_len))


def pseudo_bits(record: Record) -> float | None:
    return _bits(record.pseudo)


def tokens_right(record: Record, length: int) -> float | None:
    told = (g.tokens_right / (g.gaps * g.length) for g in record.gaps if g.length == length)
    return next(told, None)


def gaps_right(record: Record, length: int) -> float | None:
    return next((g.gaps_right / g.gaps for g in record.gaps if g.length == length), None)


def sections_right(record: Record, *, trained: bool = True) -> float | None:
    told = (p.right / p.asked for p in record.linear_probes if p.trained == trained)
    return next(told, None)


def untrained(record: Record) -> float | None:
    return sections_right(record, trained=False)


def lengths(found: Sequence[Trained]) -> list[int]:
    """Of the gaps that all were asked to fill."""
    asked = [{gap.length for gap in record.gaps} for one in found for record in one.records]
    return sorted(set.intersection(*asked)) if asked else []


def spread(one: Trained, value: Value) -> Estimate | None:
    """Over seeds; None for fewer than two."""
    return mean(list(one.by_seed(value).values()))


def _told(one: Trained, value: Value, share: bool = False) -> str:
    known, estimate = list(one.by_seed(value).values()), spread(one, value)
    if not known:
        return "–"
    scale, digits = (100, 1) if share else (1, 3)
    middle = f"{scale * fmean(known):.{digits}f}"
    if estimate is None:
        return middle
    half = f"{scale * (estimate.high - estimate.value):.{digits}f}"
    return f"{middle} ± {half}"


def table(found: Sequence[Trained]) -> pd.DataFrame:
    """A row for each architecture and objective; ± is two sigma over seeds."""
    return pd.DataFrame([_row(one, lengths(found)) for one in found])


def _how(setting: Setting) -> str:
    words = unusual(setting.mode, setting.kernel, setting.short_conv, setting.ranks)
    return ", ".join([setting.corpus, f"length {setting.seq_len}", *words])


def _row(one: Trained, asked: Sequence[int]) -> dict[str, str]:
    row = {
        "architecture": one.arch,
        "trained on": one.objective,
        "loss, bits/token": _told(one, loss_bits),
        "pseudo-likelihood, bits/token": _told(one, pseudo_bits),
    }
    for length in asked:
        right = partial(tokens_right, length=length)
        row[f"gaps of {length}: tokens right, %"] = _told(one, right, share=True)
        if length > 1:
            whole = partial(gaps_right, length=length)
            row[f"gaps of {length} right, %"] = _told(one, whole, share=True)
    seconds = [record.train_s for record in one.records if record.train_s is not None]
    flops = list(one.by_seed(training_flops).values())
    rates = sorted({record.case.lr or 0.0 for record in one.records})
    return row | {
        "sections right, %": _told(one, sections_right, share=True),
        "untrained": _told(one, untrained, share=True),
        "training": show(fmean(seconds), "s") if seconds else "–",
        "training FLOPs": f"{fmean(flops):.3g}" if flops else "–",
        "tokens": show_count(one.setting.tokens),
        "setting": _how(one.setting),
        "learning rate": ", ".join(f"{rate:g}" for rate in rates),
        "seeds": f"{len(one.seeds)}",
    }
