"""Claims about alignment: what fine-tuning and preferences buy, and what is lost by too much."""

from statistics import fmean

from report import align
from report.align import Course, Place, Runs
from report.claims.evidence import (
    SEEDS,
    Evidence,
    Judgement,
    Range,
    Verdict,
    decide,
    say,
    seeds_mean,
    together,
    undecided,
)
from report.statistics import Estimate, difference

LIFTS, NO_LIFT = Range(low=1.5), Range(high=1.2)  # times as many right answers
PAIRS = 2048  # of the reward models that are compared
PLACES = 3  # numbers of answers: one, some, and the most
GAINS, LOSES = Range(low=0.0), Range(high=0.0)


def _by_rule(evidence: Evidence) -> Course | None:
    """Where a rule says what is meant, trained longest."""
    found = [course for course in align.courses(evidence.records) if course.is_gold]
    return max(found, key=lambda course: course.records[0].case.tokens or 0, default=None)


def _enough(course: Course | None) -> dict[str, Runs]:
    if course is None:
        return {}
    return {arch: runs for arch, runs in course.archs.items() if len(runs) >= SEEDS}


NOT_MEASURED = f"not measured: it takes {SEEDS} seeds of instructions with a known rule"


def fine_tuning_lifts(evidence: Evidence) -> Judgement:
    judged = []
    for arch, runs in _enough(_by_rule(evidence)).items():
        times = seeds_mean([lift for lift in map(align.lift, runs.values()) if lift is not None])
        judged.append(
            Judgement(
                verdict=decide(times, LIFTS, NO_LIFT),
                measured=[f"{arch}: {say(times)} times as many answers are right throughout"],
                records=list(runs.values()),
            )
        )
    return together(judged) if judged else undecided(NOT_MEASURED)


def attention_learns_preferences(evidence: Evidence) -> Judgement:
    course = _by_rule(evidence)
    found = {
        arch: {
            seed: share
            for seed, record in runs.items()
            if (share := align.accuracy(record, PAIRS)) is not None
        }
        for arch, runs in _enough(course).items()
    }
    known = {arch: seeds for arch, seeds in found.items() if len(seeds) >= SEEDS}
    attentive = [arch for arch in evidence.archs("attention") if arch in known]
    others = [arch for arch in evidence.archs("nonlinear", "scan") if arch in known]
    if course is None or not attentive or not others:
        return undecided(
            f"not measured: it takes {SEEDS} seeds of a transformer's and a recurrent model's "
            f"reward model of {PAIRS:,} pairs"
        )
    best = max(attentive, key=lambda arch: fmean(known[arch].values()))
    judged = []
    for arch in others:
        apart = difference(known[best], known[arch])
        judged.append(
            Judgement(
                verdict=decide(apart, GAINS, LOSES),
                measured=[
                    f"{best} ranks {say(seeds_mean(list(known[best].values())), '', 3)} of the "
                    f"pairs as gold does, {arch} "
                    f"{say(seeds_mean(list(known[arch].values())), '', 3)}: "
                    f"{say(apart, '', 3)} apart"
                ],
                records=[*course.archs[best].values(), *course.archs[arch].values()],
            )
        )
    return together(judged)


def _rise_and_fall(ways: dict[int, list[Place]]) -> tuple[int, Estimate | None, Estimate | None]:
    """Where gold is greatest ahead of the last n, what it gained until there, and lost from there
    to the last. For each seed the n is the other seeds' best, so that it is not chosen by the luck
    it is told of."""
    rises, falls = [], []
    for seed, places in ways.items():
        others = align.averaged([each for other, each in ways.items() if other != seed])
        top = next(p for p in places if p.at == align.peak(others[:-1]).at)
        rises.append(top.gold - places[0].gold)
        falls.append(top.gold - places[-1].gold)
    at = align.peak(align.averaged(list(ways.values()))[:-1]).at
    return at, seeds_mean(rises), seeds_mean(falls)


def too_much_is_lost(evidence: Evidence) -> Judgement:
    course = _by_rule(evidence)
    judged = []
    for arch, runs in _enough(course).items():
        all_places = [align.best_of(record, PAIRS) for record in runs.values()]
        ways = dict(zip(runs, align.in_common(all_places), strict=True))
        if min(map(len, ways.values())) < PLACES:
            continue
        at, rise, fall = _rise_and_fall(ways)
        proxies = [places[-1].proxy - max(p.proxy for p in places[:-1]) for places in ways.values()]
        grew = seeds_mean(proxies)
        verdict: Verdict = "not decided"
        if rise and fall and grew and min(rise.low, fall.low, grew.low) > 0:
            verdict = "supported"
        elif fall and fall.high < 0:
            verdict = "refuted"
        last = next(iter(ways.values()))[-1].at
        judged.append(
            Judgement(
                verdict=verdict,
                measured=[
                    f"{arch}: gold gains {say(rise, '', 3)} up to best of {at} and loses "
                    f"{say(fall, '', 3)} from there to best of {last}, while proxy rises"
                ],
                records=list(runs.values()),
            )
        )
    return together(judged) if judged else undecided(NOT_MEASURED)


def reinforcement_helps(evidence: Evidence) -> Judgement:
    """By the greatest KL penalty that was tried."""
    judged = []
    for arch, runs in _enough(_by_rule(evidence)).items():
        tried = [beta for method, beta in align.methods(runs) if method == "rloo"]
        if not tried:
            continue
        gained, places = [], []
        for record in runs.values():
            one = align.optimised(record)["rloo", max(tried)]
            before = fmean(align.fine_tuned(record).answered.gold)
            gained.append(fmean(one.answered.gold) - before)
            places.append(align.way(one)[-1])
        gain = seeds_mean(gained)
        judged.append(
            Judgement(
                verdict=decide(gain, GAINS, LOSES),
                measured=[
                    f"{arch}: β {max(tried):g} moves gold by {say(gain, '', 3)} and proxy by "
                    f"{fmean(p.proxy for p in places):.2f}, "
                    f"{fmean(p.kl_nats for p in places):.2f} nats from the fine-tuned policy"
                ],
                records=list(runs.values()),
            )
        )
    return together(judged) if judged else undecided(NOT_MEASURED)
