"""Alignment: what fine-tuning, preferences and their optimisation came to, as figures and tables.

Gold is the reward that is meant, by a known rule; proxy the one that a reward model learned. Best
of n moves answers from the fine-tuned policy's by KL = log n - (n - 1)/n, Stiennon et al., 2020
https://arxiv.org/abs/2009.01325; how far one can go before gold falls is Gao et al., Scaling Laws
for Reward Model Overoptimization, 2022  https://arxiv.org/abs/2210.10760.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, median, pstdev

import pandas as pd

from report.choice import setting_of
from report.statistics import Estimate, mean
from report.units import show
from results import Answered, BestOf, Lesson, Optimised, Record, Spent

PHASE = "align"
LAST = 10  # steps of fine-tuning, whose losses tell learning rates apart: all draw what is new
Runs = dict[int, Record]  # by seed


@dataclass(frozen=True, kw_only=True)
class Course:
    """Records that were taught alike: by architecture and seed."""

    instructions: str
    archs: dict[str, Runs]

    @property
    def records(self) -> list[Record]:
        return [record for runs in self.archs.values() for record in runs.values()]

    @property
    def is_gold(self) -> bool:
        """Whether a rule says how good an answer is."""
        return all(fine_tuned(record).answered.gold for record in self.records)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an optimised policy, or a choice among n answers, is: means over answers."""

    at: int  # n, or steps
    kl_nats: float
    proxy: float
    gold: float


def lesson(record: Record, taught: str) -> Lesson:
    return next(each for each in record.lessons if each.taught == taught)


def fine_tuned(record: Record) -> Lesson:
    return lesson(record, "fine-tuned")


def courses(records: Iterable[Record]) -> list[Course]:
    """Of each kind of instructions and setting, at the learning rate that was learned best with."""
    found: dict[tuple[object, ...], dict[str, Runs]] = {}
    for record in records:
        case = record.case
        if case.phase != PHASE or record.status != "ok":
            continue
        key = (case.instructions, case.size, case.pairs, *setting_of(case))
        runs = found.setdefault(key, {}).setdefault(case.arch, {})
        runs[case.seed] = min(record, runs.get(case.seed, record), key=_learned)
    return [
        Course(instructions=str(key[0]), archs=dict(sorted(archs.items())))
        for key, archs in sorted(found.items(), key=lambda item: str(item[0]))
    ]


def _learned(record: Record) -> float:
    return fmean(fine_tuned(record).train_nats[-LAST:])


def exact(answered: Answered) -> float | None:
    return None if answered.exact is None else answered.exact / answered.prompts


def bits(answered: Answered) -> float:
    """Of the reference answers, a token."""
    return answered.nats / answered.answer_tokens / math.log(2)


def lift(record: Record) -> float | None:
    """Times as many answers that are right throughout, fine-tuned over pretrained for as long."""
    before = exact(lesson(record, "pretrained on").answered)
    after = exact(fine_tuned(record).answered)
    return after / before if before and after is not None else None


def accuracy(record: Record, pairs: int, noise: float = 0.0) -> float | None:
    """Share of held-out pairs that the reward model of so many ranks as gold does."""
    ours = (s for s in record.scorers if (s.pairs, s.noise) == (pairs, noise))
    return next((scorer.right / scorer.asked for scorer in ours), None)


def ladder(records: Iterable[Record], noise: float = 0.0) -> list[int]:
    """The pairs that reward models learned from."""
    return sorted({s.pairs for r in records for s in r.scorers if s.noise == noise})


def noises(records: Iterable[Record]) -> list[float]:
    return sorted({scorer.noise for record in records for scorer in record.scorers})


def best_of(record: Record, pairs: int, noise: float = 0.0) -> list[Place]:
    """By n; empty where no gold is known."""
    ours = [b for b in record.best_of if (b.pairs, b.noise) == (pairs, noise) and b.gold]
    return [_chosen(each) for each in sorted(ours, key=lambda each: each.n)]


def best_of_all(runs: Runs, pairs: int) -> list[Place]:
    """Over seeds."""
    return averaged([best_of(record, pairs) for record in runs.values()])


def _chosen(each: BestOf) -> Place:
    kl_nats = math.log(each.n) - (each.n - 1) / each.n
    return Place(at=each.n, kl_nats=kl_nats, proxy=fmean(each.proxy), gold=fmean(each.gold))


def way(one: Optimised) -> list[Place]:
    """By step; empty where no gold is known."""
    return [
        Place(
            at=p.step,
            kl_nats=p.kl_nats / p.answers,
            proxy=p.proxy / p.answers,
            gold=p.gold / p.answers,
        )
        for p in one.reached
        if p.gold is not None
    ]


def optimised(record: Record) -> dict[tuple[str, float], Optimised]:
    """By method and β."""
    return {(one.method, one.beta): one for one in record.optimised}


def methods(runs: Runs) -> list[tuple[str, float]]:
    """Method and β of what every seed has."""
    first, *others = (optimised(record) for record in runs.values())
    return [one for one in first if all(one in other for other in others)]


def wins(ours: Answered, theirs: Answered) -> float:
    """How often an answer to the same prompt has the greater gold reward; a tie is half a win."""
    pairs = list(zip(ours.gold, theirs.gold, strict=True))
    return fmean(float(a > b) + 0.5 * (a == b) for a, b in pairs)


def in_gold(record: Record, proxy: float) -> float:
    """A proxy reward on gold's scale: both have one mean and spread over fine-tuned answers."""
    gold = fine_tuned(record).answered.gold
    return fmean(gold) + pstdev(gold) * proxy


def averaged(ways: Sequence[Sequence[Place]]) -> list[Place]:
    """Over seeds, place by place; of those that all have."""
    return [
        Place(
            at=places[0].at,
            kl_nats=fmean(p.kl_nats for p in places),
            proxy=fmean(p.proxy for p in places),
            gold=fmean(p.gold for p in places),
        )
        for places in zip(*in_common(ways), strict=True)
    ]


def in_common(ways: Sequence[Sequence[Place]]) -> list[list[Place]]:
    """Of each way, in order, the places that all ways have."""
    ats = set.intersection(*({place.at for place in places} for places in ways))
    return [[place for place in places if place.at in ats] for places in ways]


def _told(values: Iterable[float | None], digits: int = 3) -> str:
    """The mean over seeds, and its interval where there are several."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    sure: Estimate | None = mean(known)
    text = f"{fmean(known):.{digits}f}"
    return text if sure is None else f"{text} ({sure.low:.{digits}f}–{sure.high:.{digits}f})"


def lessons_table(course: Course) -> pd.DataFrame:
    def column(runs: Runs, of: Callable[[Answered], float | None], taught: str) -> str:
        return _told(of(lesson(record, taught).answered) for record in runs.values())

    rows = []
    for arch, runs in course.archs.items():
        row = {"architecture": arch}
        for taught in ("pretrained", "pretrained on", "fine-tuned"):
            if course.is_gold:
                row[f"{taught}: right throughout"] = column(runs, exact, taught)
            row[f"{taught}: bits/token"] = column(runs, bits, taught)
        if course.is_gold:
            row["times as many"] = _told(map(lift, runs.values()), 2)
        rows.append(row | {"seeds": f"{len(runs)}"})
    return pd.DataFrame(rows)


def scorers_table(course: Course) -> pd.DataFrame:
    rows = []
    for arch, runs in course.archs.items():
        for noise in noises(runs.values()):
            row = {"architecture": arch, "labels turned over": show(noise, "fraction")}
            for pairs in ladder(course.records):
                found = (accuracy(record, pairs, noise) for record in runs.values())
                row[f"{pairs:,} pairs"] = _told(found)
            rows.append(row)
    return pd.DataFrame(rows)


def peak(places: Sequence[Place]) -> Place:
    return max(places, key=lambda place: place.gold)


def best_of_table(course: Course) -> pd.DataFrame:
    rows = []
    for arch, runs in course.archs.items():
        for pairs in ladder(runs.values()):
            found = best_of_all(runs, pairs)
            if not found:
                continue
            top = peak(found)
            rows.append(
                {
                    "architecture": arch,
                    "reward model": f"{pairs:,} pairs",
                    "gold, one answer": f"{found[0].gold:.3f}",
                    "greatest": f"{top.gold:.3f} at n = {top.at}",
                    f"at n = {found[-1].at}": f"{found[-1].gold:.3f}",
                    "proxy, from": f"{found[0].proxy:.2f} to {found[-1].proxy:.2f}",
                }
            )
    return pd.DataFrame(rows)


def optimised_table(course: Course) -> pd.DataFrame:
    rows = []
    for arch, runs in course.archs.items():
        for method, beta in methods(runs):
            ours = {seed: optimised(record)[method, beta] for seed, record in runs.items()}
            ends = [one.reached[-1] for one in ours.values()]
            row = {
                "architecture": arch,
                "method": f"{method}, β {beta:g}",
                "KL, nats": _told((end.kl_nats / end.answers for end in ends), 2),
                "proxy": _told((end.proxy / end.answers for end in ends), 2),
            }
            if course.is_gold:
                before = {seed: fine_tuned(record).answered for seed, record in runs.items()}
                row |= {
                    "gold": _told(fmean(one.answered.gold) for one in ours.values()),
                    "gold before": _told(fmean(one.gold) for one in before.values()),
                    "right throughout": _told(exact(one.answered) for one in ours.values()),
                    "wins against fine-tuned": _told(
                        wins(one.answered, before[seed]) for seed, one in ours.items()
                    ),
                }
            rows.append(row)
    return pd.DataFrame(rows)


def tokens_per_s(spent: Iterable[Spent]) -> float:
    """By the median over steps, and over these."""
    return median(s.tokens / median(s.step_s) for s in spent)


def costs_table(course: Course) -> pd.DataFrame:
    """What a step takes, by the median over steps and seeds."""
    rows = []
    for arch, runs in course.archs.items():
        for method, beta in methods(runs):
            spent = [s for r in runs.values() for s in optimised(r)[method, beta].spent]
            for work in dict.fromkeys(each.work for each in spent):
                ours = [each for each in spent if each.work == work]
                rate = tokens_per_s(ours)
                rows.append(
                    {
                        "architecture": arch,
                        "method": f"{method}, β {beta:g}",
                        "work": work,
                        "tokens/s": show(rate, "tokens/s"),
                        "tokens a step": f"{ours[0].tokens:,}",
                        "peak memory": show(max(s.peak_bytes for s in ours), "bytes"),
                    }
                )
    return pd.DataFrame(rows)
