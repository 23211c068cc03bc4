"""At which length one architecture's cost passes another's, and how surely.

Both are measured at the same lengths, run alike, one batch a length. Between two lengths log cost
is a straight line in log length; beyond the measured lengths nothing is said.

What the timed steps might have been is redrawn (report/statistics.py). At a length one of two is
ahead if it is in all but a tail of the draws, the tail of two sigma shared among the lengths
(Bonferroni), so that two equal curves seldom part anywhere, and a crossing takes parting twice, in
opposite ways. A crossing lies between the last length at which one is ahead and the first at which
the other is. There it is the length at which the lines meet; where they meet several times, as
lines that nearly coincide do, the length that leaves each the stretch it leads, in log length. Its
interval is the percentile interval of the draws, at two sigma. What is counted (bytes) has none,
and is a straight line between two lengths all the same.

The draws know the steps and not what slowed a whole cell: on a shared machine an interval is too
narrow. Cells of a single step say nothing of their scatter and are left out.

Efron & Tibshirani, An introduction to the bootstrap, 1993, chapter 13 (percentile interval)
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from statistics import fmean

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from report.attainment import costs
from report.choice import setting_of, valid_nats
from report.claims.evidence import Evidence, Family
from report.compare import trained_setting
from report.metrics import METRICS, Metric
from report.statistics import TAILS, Estimate, Floats, exactly
from report.units import show_length
from results import Record

SEED = 0  # of the redrawing, so that the same Records say the same twice
FAMILIES: tuple[Family, ...] = ("attention", "window", "both", "scan", "convolution", "nonlinear")
NOTHING = "–"
TITLE = "Crossings with length, of each family's best"


@dataclass(frozen=True, kw_only=True)
class Cost:
    metric: Metric
    phase: str
    noun: str


def _cost(metric: str, phase: str, noun: str) -> Cost:
    return Cost(metric=METRICS[metric], phase=phase, noun=noun)


COSTS = (
    _cost("decode_throughput", "decode", "decode tokens/s"),
    _cost("train_throughput", "train", "training tokens/s"),
    _cost("prefill_throughput", "prefill", "prefill tokens/s"),
    _cost("peak_memory", "train", "peak training memory"),
    _cost("state", "prefill", "state per sequence"),
)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One architecture's cost over length: measured, and draws of what it might have been."""

    logs: dict[int, float]  # by length; more is better
    drawn: dict[int, Floats]


@dataclass(frozen=True, kw_only=True)
class Crossing:
    first: str  # ahead up to `after`
    then: str  # ahead from `before`
    after: int
    before: int
    at: Estimate


@dataclass(frozen=True, kw_only=True)
class Contest:
    """Two architectures in one cost, at the lengths that both were measured at."""

    cost: Cost
    pair: tuple[str, str]
    ahead: dict[int, str | None]  # by length; None: not told apart
    crossings: list[Crossing]


def _cell(metric: Metric, records: Sequence[Record], random: np.random.Generator) -> Floats | None:
    """Draws of the mean over the records of one cell; None where one has a single timed step."""
    if metric.unit == "tokens/s" and any(len(record.step_s) < 2 for record in records):
        return None
    return costs(metric, records, random)


def curves(evidence: Evidence, cost: Cost) -> dict[str, Curve]:
    """Each architecture's, drawn independently of the others."""
    random, found = np.random.default_rng(SEED), {}
    sign = 1 if cost.metric.better == "higher" else -1
    for arch, records in sorted(evidence.cells(cost.metric.name, cost.phase).items()):
        curve = Curve(logs={}, drawn={})
        for length in sorted({record.case.seq_len for record in records}):
            own = [record for record in records if record.case.seq_len == length]
            value = fmean(cost.metric.of(record) or 0.0 for record in own)
            drawn = _cell(cost.metric, own, random) if value > 0 else None
            if drawn is not None:
                curve.logs[length] = sign * float(np.log(value))
                curve.drawn[length] = sign * np.log(drawn)
        found[arch] = curve
    return found


def _share_ahead(start: Floats, end: Floats) -> Floats:
    """Of a stretch along which a difference goes from `start` to `end`, where it is above 0."""
    whole = np.abs(start) + np.abs(end)
    above = np.maximum(start, 0) + np.maximum(end, 0)
    return np.divide(above, whole, out=np.full_like(whole, 0.5), where=whole > 0)


def _meeting(lengths: Sequence[int], apart: NDArray[np.float64]) -> Floats:
    """The length that parts where `apart` (lengths, draws) is above 0 from where it is below."""
    logs = np.log(lengths)
    ahead = [
        (end - start) * _share_ahead(apart[i], apart[i + 1])
        for i, (start, end) in enumerate(pairwise(logs))
    ]
    return np.asarray(np.exp(logs[0] + np.sum(ahead, axis=0)))


def _ahead(apart: Floats) -> list[int]:
    """At each length 1 or -1: above or below 0 in all but a tail of the draws; 0: neither."""
    tail = TAILS[0] / len(apart)
    low, high = np.quantile(apart, (tail, 1 - tail), axis=1)
    return [int(up) - int(down) for up, down in zip(low > 0, high < 0, strict=True)]


def contest(cost: Cost, pair: tuple[str, str], ours: Curve, theirs: Curve) -> Contest | None:
    """None for fewer than two shared lengths."""
    lengths = sorted(ours.logs.keys() & theirs.logs.keys())
    if len(lengths) < 2:
        return None
    apart = np.array([ours.drawn[n] - theirs.drawn[n] for n in lengths])
    measured = np.array([[ours.logs[n] - theirs.logs[n]] for n in lengths])
    signs = _ahead(apart)
    crossings = []
    decided = [i for i, sign in enumerate(signs) if sign]
    for i, j in pairwise(decided):
        if signs[i] == signs[j]:
            continue
        within = slice(i, j + 1)
        value = float(_meeting(lengths[within], signs[i] * measured[within])[0])
        drawn = _meeting(lengths[within], signs[i] * apart[within])
        low, high = np.quantile(drawn, TAILS)
        sampled = cost.metric.unit == "tokens/s"
        crossings.append(
            Crossing(
                first=pair[signs[i] < 0],
                then=pair[signs[i] > 0],
                after=lengths[i],
                before=lengths[j],
                at=Estimate(value=value, low=float(low), high=float(high))
                if sampled
                else exactly(value),
            )
        )
    ahead = {n: pair[sign < 0] if sign else None for n, sign in zip(lengths, signs, strict=True)}
    return Contest(cost=cost, pair=pair, ahead=ahead, crossings=crossings)


def _valid(evidence: Evidence) -> dict[str, float]:
    """Each architecture's validation loss in the setting that all are compared in."""
    setting = trained_setting(evidence.rows)
    losses: dict[str, list[float]] = {}
    for record in (pick.record for pick in evidence.chosen):
        if setting == setting_of(record.case) and (nats := valid_nats(record)) is not None:
            losses.setdefault(record.case.arch, []).append(nats)
    return {arch: fmean(nats) for arch, nats in losses.items()}


def speakers(evidence: Evidence, found: dict[str, Curve]) -> list[str]:
    """One architecture for each family: of lowest validation loss, or, where none was trained, the
    cheapest at its greatest length."""
    losses, spoken = _valid(evidence), []
    for one in FAMILIES:
        own = [arch for arch in evidence.archs(one) if arch in found and found[arch].logs]
        trained = [arch for arch in own if arch in losses]
        if trained:
            spoken.append(min(trained, key=losses.__getitem__))
        elif own:
            spoken.append(max(own, key=lambda arch: max(found[arch].logs.items())))
    return spoken


@dataclass(frozen=True, kw_only=True)
class Crossovers:
    """All contests of one label and size, and those between families, which get a sentence."""

    contests: list[Contest]
    told: list[Contest]


def crossovers(evidence: Evidence) -> Crossovers:
    every, told = [], []
    for cost in COSTS:
        found = curves(evidence, cost)
        spoken = speakers(evidence, found)
        for pair in combinations(sorted(found), 2):
            one = contest(cost, pair, found[pair[0]], found[pair[1]])
            if one is not None:
                every.append(one)
                told += [one] * (set(pair) <= set(spoken))
    return Crossovers(contests=every, told=told)


def _about(at: Estimate) -> str:
    """A length to two digits, which is more than interpolation knows."""
    shown = [f"{float(f'{value:.2g}'):,.0f}" for value in (at.value, at.low, at.high)]
    return shown[0] if at.low == at.high else f"{shown[0]} ({shown[1]} to {shown[2]})"


def _where(lengths: Sequence[int]) -> str:
    return ", ".join(map(show_length, lengths))


def _outcome(one: Contest) -> str:
    """Without a crossing: who is ahead, and where nobody is."""
    leaders = [arch for arch in one.ahead.values() if arch]
    if not leaders:
        return "not told apart"
    close = [length for length, arch in one.ahead.items() if arch is None]
    if not close:
        return f"{leaders[0]} throughout"
    return f"{leaders[0]} (not told apart at {_where(close)})"


def sentences(found: Crossovers) -> Iterator[str]:
    """One for each crossing between families, then one for each cost without any."""
    for cost in COSTS:
        told = [one for one in found.told if one.cost is cost]
        crossings = [crossing for one in told for crossing in one.crossings]
        for crossing in sorted(crossings, key=lambda crossing: crossing.at.value):
            yield (
                f"{crossing.then} passes {crossing.first} in {cost.noun} between "
                f"{show_length(crossing.after)} and {show_length(crossing.before)}, at about "
                f"{_about(crossing.at)} tokens."
            )
        if told and not crossings:
            lengths = [length for one in told for length in one.ahead]
            yield (
                f"In {cost.noun} no two families' best cross within {min(lengths):,} to "
                f"{max(lengths):,} tokens."
            )


def told_table(found: Crossovers) -> pd.DataFrame:
    """One line for each pair of families' best, one column for each cost."""
    pairs = sorted({one.pair for one in found.told})
    columns = {"pair": [" / ".join(pair) for pair in pairs]}
    for cost in COSTS:
        by_pair = {one.pair: one for one in found.told if one.cost is cost}
        if by_pair:
            columns[cost.noun] = [_cell_text(by_pair.get(pair)) for pair in pairs]
    return pd.DataFrame(columns)


def _cell_text(one: Contest | None) -> str:
    if one is None:
        return NOTHING
    passed = "; ".join(f"{each.then} from {_about(each.at)}" for each in one.crossings)
    return passed or _outcome(one)


COLUMNS = [
    "cost",
    "phase",
    "one",
    "other",
    "shortest",
    "longest",
    "outcome",
    "first",
    "then",
    "after",
    "before",
    "at",
    "low",
    "high",
]


def table(found: Crossovers) -> pd.DataFrame:
    """Every pair and cost: a row for each crossing, or one that says why there is none."""
    rows = []
    for one in found.contests:
        shared = {
            "cost": one.cost.metric.name,
            "phase": one.cost.phase,
            "one": one.pair[0],
            "other": one.pair[1],
            "shortest": min(one.ahead),
            "longest": max(one.ahead),
        }
        for crossing in one.crossings:
            at = {"at": crossing.at.value, "low": crossing.at.low, "high": crossing.at.high}
            ends = {"after": crossing.after, "before": crossing.before}
            who = {"first": crossing.first, "then": crossing.then}
            rows.append({**shared, "outcome": "crossing", **who, **ends, **at})
        if not one.crossings:
            rows.append({**shared, "outcome": _outcome(one)})
    frame = pd.DataFrame(rows, columns=COLUMNS)
    return frame.astype({"after": "Int64", "before": "Int64"})
