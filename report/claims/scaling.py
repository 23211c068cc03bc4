"""Claims about size: that quality follows it by a law, and that text sets a bound to it."""

from report import scaling
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
from report.scaling import Reading
from report.units import show, show_count

PREDICTED, MISSED = 0.01, 0.03  # of the loss at the greatest budget
NO_HELP, HELP = Range(high=0.01), Range(low=0.03)  # share of loss that TIMES of size take away


def size_follows_a_law(evidence: Evidence) -> Judgement:
    found = scaling.readings(evidence.records)
    if not found:
        return undecided(f"not measured: it takes {scaling.FEWEST} budgets of training FLOPs")
    return together(map(_law, found))


def _law(one: Reading) -> Judgement:
    falls = one.of_size.low > 0 and one.of_text.low > 0
    verdict: Verdict = "not decided"
    if one.error > MISSED:
        verdict = "refuted"
    elif falls and one.error < PREDICTED:
        verdict = "supported"
    return Judgement(
        verdict=verdict,
        measured=[
            f"{one.arch}: the sizes tried take {say(one.of_size)} nats a token away and the texts "
            f"{say(one.of_text)}; the greatest budget is predicted within "
            f"{show(one.error, 'fraction')}; best size grows as the budget to the "
            f"{say(one.exponent) if one.exponent else 'power unknown: not bracketed'}"
        ],
        records=one.records,
    )


def size_beyond_the_text_is_lost(evidence: Evidence) -> Judgement:
    found = scaling.repeated(evidence.records)
    judged = []
    for arch, sizes in found.items():
        gained = scaling.gain(sizes)
        if gained is None or len(gained) < SEEDS:
            continue
        share = seeds_mean(list(gained.values()))
        params = list(sizes)
        judged.append(
            Judgement(
                verdict=decide(share, NO_HELP, HELP),
                measured=[
                    f"{arch}: the last {scaling.TIMES} times of size, up to "
                    f"{show_count(params[-1])} parameters, take {say(share, '', 3)} of the loss "
                    "away, trainings stopped in time"
                ],
                records=[record for seeds in sizes.values() for record in seeds.values()],
            )
        )
    if not judged:
        return undecided(f"not measured: it takes {SEEDS} seeds of sizes {scaling.TIMES} apart")
    return together(judged)
