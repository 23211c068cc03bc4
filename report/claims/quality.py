"""Claims about what quality costs."""

import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from report.attainment import costs
from report.choice import run_in, setting_of, valid_nats
from report.claims.evidence import (
    SEEDS,
    STATE_SPACE,
    Evidence,
    Judgement,
    Seeds,
    Verdict,
    say,
    undecided,
)
from report.compare import QUALITY, Comparison, trained_setting
from report.statistics import CONFIDENCE, Estimate, difference, interval
from results import Record

PAID = ("decode throughput", "state per sequence")  # panels in which a transformer may cost more


def best(runs: dict[str, Seeds], archs: Sequence[str]) -> str | None:
    """Of lowest validation loss, so that the test loss it is then judged by is not the best of
    several; None: none has enough seeds."""
    losses = {}
    for arch in archs:
        nats = [loss for r in runs.get(arch, {}).values() if (loss := valid_nats(r)) is not None]
        if len(nats) >= SEEDS:
            losses[arch] = fmean(nats)
    return min(losses, key=losses.__getitem__, default=None)


def _test_nats(seeds: Seeds) -> dict[int, float]:
    return {
        seed: math.log(perplexity)
        for seed, record in seeds.items()
        if (perplexity := QUALITY.of(record)) is not None
    }


def _times_dearer(
    comparison: Comparison, ours: Sequence[Record], theirs: Sequence[Record]
) -> Estimate:
    """How many doublings our cost is beyond theirs, over what the timed steps might have been."""
    metric, random = comparison.panel.metric, np.random.default_rng(0)
    sign = 1 if metric.better == "lower" else -1
    drawn = sign * np.log2(costs(metric, ours, random) / costs(metric, theirs, random))
    return interval(float(np.median(drawn)), drawn)


def quality_is_paid(evidence: Evidence) -> Judgement:
    setting = trained_setting(evidence.rows)
    runs = evidence.trained("quality").get(setting, {}) if setting else {}
    ours = best(runs, evidence.archs("attention"))
    theirs = best(runs, evidence.archs("nonlinear"))
    if ours is None or theirs is None:
        return undecided(
            f"not measured: it takes a transformer and a nonlinear RNN with {SEEDS} seeds each"
        )
    apart = difference(_test_nats(runs[ours]), _test_nats(runs[theirs]))
    measured = [f"{ours} less {theirs}: {say(apart, ' nats per token', 3)} of test loss"]
    records = [*runs[ours].values(), *runs[theirs].values()]
    paid = []
    for comparison in (found.comparison for found in evidence.attained):
        timed = run_in(evidence.records, comparison.cost)
        known = [record for record in timed if comparison.panel.metric.of(record) is not None]
        cells = {arch: [r for r in known if r.case.arch == arch] for arch in (ours, theirs)}
        if comparison.panel.name not in PAID or not all(cells.values()):
            continue
        paid.append(_times_dearer(comparison, cells[ours], cells[theirs]))
        records += [*cells[ours], *cells[theirs]]
        measured.append(
            f"{comparison.panel.name}: {ours} is {say(paid[-1], ' doublings')} dearer than {theirs}"
        )
    verdict: Verdict = "not decided"
    if apart is not None and apart.low > 0:
        verdict = "refuted"
    elif apart is not None and apart.high < 0 and paid:
        if any(more.low > 0 for more in paid):
            verdict = "supported"
        elif all(more.high < 0 for more in paid):
            verdict = "refuted"
    return Judgement(verdict=verdict, measured=measured, records=records)


def on_the_frontier(evidence: Evidence) -> Judgement:
    scans = [arch for arch in evidence.archs("scan") if evidence.ops[arch] & STATE_SPACE]
    named = {*scans, *evidence.archs("both")}
    panels = [found for found in evidence.attained if named & set(found.comparison.points["arch"])]
    if not panels:
        return undecided("not measured: it takes quality and a cost of Mamba or a hybrid")
    if any(found.seeds < SEEDS for found in panels):
        return undecided(f"fewer than {SEEDS} seeds: nothing says how sure the perplexities are")
    shares, measured = [], []
    for found in panels:
        shares.append(found.share_with(named))
        who = ", ".join(arch for arch in found.comparison.leaders if arch in named) or "none"
        measured.append(
            f"{found.comparison.panel.name}: one of {', '.join(sorted(named))} is on "
            f"{100 * shares[-1]:.0f} % of the redrawn frontiers; as measured {who}"
        )
    verdict: Verdict = "not decided"
    if min(shares) >= CONFIDENCE:
        verdict = "supported"
    elif min(shares) <= 1 - CONFIDENCE:
        verdict = "refuted"
    archs = {str(arch) for found in panels for arch in found.comparison.points["arch"]}
    settings = {one for f in panels for one in (f.comparison.cost, f.comparison.quality)}
    chosen = {id(pick.record) for pick in evidence.chosen}
    return Judgement(
        verdict=verdict,
        measured=measured,
        records=[
            record
            for record in evidence.records
            if record.case.arch in archs
            and setting_of(record.case) in settings
            and (record.case.phase != "quality" or id(record) in chosen)
        ],
    )
