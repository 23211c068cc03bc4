"""Claims about what a state keeps: of a Markov chain, of text, of pairs, of a permutation.

What a model cannot do and what it has not learned look alike. So a failure counts only for models
that were given a multiple of the steps others needed, and with seeds enough.
"""

import math
from collections.abc import Iterable

import numpy as np

from report.choice import Setting
from report.claims.evidence import (
    SEEDS,
    Evidence,
    Judgement,
    Range,
    Seeds,
    Verdict,
    decide,
    say,
    say_share,
    seeds_mean,
    together,
    undecided,
)
from report.claims.quality import best
from report.losses import SOLVED, accuracy, tally
from report.statistics import Estimate, difference
from results import Record, Tally

# nats that an answer's loss beyond Bayes gains in a doubling of position. In the feasibility study,
# with 144 counts to keep, an LSTM gained 0.06 and attention 0.01
FADES, KEEPS = Range(low=0.02), Range(high=0.02)
# total variation to the prediction from the whole past below which a cut past is as good
# (feasibility study), and how many times shorter that makes an RNN's memory than attention's
NEAR = 0.02
SHORTER, AS_LONG = Range(low=2.0), Range(high=2.0)  # doublings: four times
# associative recall, of the feasibility study: failed, and known to be within reach
RECALL_TASK = "mqar"
FAILED, KNOWN = 0.90, 0.95
PATIENCE = 5  # times the steps that attention needed
SMALL_STATE = 0.1  # of attention's bytes


def rise(answered: Tally) -> float | None:
    """Nats beyond Bayes gained in each doubling of position; None for fewer than three bins."""
    ends = (*answered.edges[1:], answered.seq_len)
    bins = [
        (math.log2(start * end) / 2, (own - ideal) / count)
        for start, end, own, ideal, count in zip(
            answered.edges,
            ends,
            answered.nats,
            answered.bayes_nats or answered.nats,
            answered.answers,
            strict=True,
        )
        if count and end > start
    ]
    if len(bins) < 3 or not answered.bayes_nats:
        return None
    places, excess = (np.array(values) for values in zip(*bins, strict=True))
    return float(np.polyfit(places, excess, 1)[0])


def effective_context(record: Record) -> float | None:
    """Doublings of context after which more of it changes the prediction by less than NEAR.

    Interpolated in log context between the lengths kept; all of it where none is near.
    """
    past = record.remembrance
    if past is None:
        return None
    far = [total / past.windows for total in past.distance]
    kept = [math.log2(context) for context in past.kept]
    crossed = next(i for i, distance in enumerate(far) if distance < NEAR)
    if crossed == 0:
        return kept[0]
    share = (far[crossed - 1] - NEAR) / (far[crossed - 1] - far[crossed])
    return kept[crossed - 1] + share * (kept[crossed] - kept[crossed - 1])


def _rises(seeds: Seeds) -> dict[int, float]:
    tallies = {seed: tally(record, "test", record.case.seq_len) for seed, record in seeds.items()}
    return {
        seed: gained
        for seed, test in tallies.items()
        if test is not None and (gained := rise(test)) is not None
    }


def _contexts(seeds: Seeds) -> dict[int, float]:
    return {
        seed: doublings
        for seed, record in seeds.items()
        if (doublings := effective_context(record)) is not None
    }


Runs = dict[str, Seeds]


def _hardest(evidence: Evidence, phase: str) -> Runs:
    """The runs at the greatest load that most architectures were set."""
    settings = evidence.trained(phase)

    def hardness(setting: Setting) -> tuple[int, int, int, int]:
        return len(settings[setting]), setting.load, setting.seq_len, setting.tokens

    return settings[max(settings, key=hardness)] if settings else {}


def _rivals(evidence: Evidence, runs: Runs) -> tuple[str | None, list[str]]:
    """The best transformer, and the nonlinear RNNs, that have seeds enough."""
    rnns = [arch for arch in evidence.archs("nonlinear") if len(runs.get(arch, {})) >= SEEDS]
    return best(runs, evidence.archs("attention")), rnns


NEEDED = f"not measured: it takes a transformer and a nonlinear RNN with {SEEDS} seeds each"


def early_words_fade(evidence: Evidence) -> Judgement:
    runs = _hardest(evidence, "markov")
    attention, rnns = _rivals(evidence, runs)
    if attention is None or not rnns:
        return undecided(NEEDED)
    kept = _rises(runs[attention])
    judged = []
    for arch in rnns:
        lost = _rises(runs[arch])
        own, apart = seeds_mean(list(lost.values())), difference(lost, kept)
        verdict = decide(own, FADES, KEEPS)
        if verdict == "supported" and (apart is None or apart.low <= 0):
            verdict = "not decided"
        judged.append(
            Judgement(
                verdict=verdict,
                measured=[
                    f"{arch}: {say(own, ' nats', 3)} beyond Bayes gained a doubling of position, "
                    f"{say(apart, '', 3)} more than {attention}"
                ],
                records=[*runs[arch].values(), *runs[attention].values()],
            )
        )
    return together(judged)


def memory_is_shorter(evidence: Evidence) -> Judgement:
    runs = _hardest(evidence, "quality")
    attention, rnns = _rivals(evidence, runs)
    if attention is None or not rnns:
        return undecided(NEEDED)
    whole = _contexts(runs[attention])
    judged = []
    for arch in rnns:
        own = _contexts(runs[arch])
        shorter = difference(whole, own)
        if shorter is None:
            continue
        reach = 2 ** float(np.mean(list(own.values())))
        judged.append(
            Judgement(
                verdict=decide(shorter, SHORTER, AS_LONG),
                measured=[
                    f"{arch}: uses its last {reach:.0f} tokens, {say(shorter, ' doublings')} fewer "
                    f"than {attention}"
                ],
                records=[*runs[arch].values(), *runs[attention].values()],
            )
        )
    return together(judged) if judged else undecided("not measured: no past was cut")


def _accuracies(runs: Seeds, *, longest: bool = False) -> dict[int, float]:
    """Of each seed, on test at the trained length or at the longest that was asked."""
    found = {}
    for seed, record in runs.items():
        lengths = [t.seq_len for t in record.tallies if t.split == "test"]
        length = max(lengths, default=0) if longest else record.case.seq_len
        test = tally(record, "test", length)
        if test is not None and (right := accuracy(test)) is not None:
            found[seed] = right
    return found


def _right(runs: Seeds, *, longest: bool = False) -> Estimate | None:
    return seeds_mean(list(_accuracies(runs, longest=longest).values()))


def steps_to_solve(record: Record) -> int | None:
    """Optimizer steps until SOLVED of the validation answers were right."""
    for seen in record.progress:
        if seen.answers and seen.right is not None and seen.right / seen.answers >= SOLVED:
            return seen.step
    return None


def _patience(attention: Seeds, rnn: Seeds) -> float | None:
    """How many times the steps that attention's slowest seed needed the RNN was given."""
    needed = [steps_to_solve(record) for record in attention.values()]
    known = [steps for steps in needed if steps is not None]
    given = [record.progress[-1].step for record in rnn.values() if record.progress]
    if len(known) < len(needed) or not given:
        return None
    return min(given) / max(known)


def recall_needs_state(evidence: Evidence) -> Judgement:
    """At the greatest load that a transformer solves."""
    loads = [
        (setting.load, setting.seq_len, setting.tokens, attention, rnns, runs, right)
        for setting, runs in evidence.trained("recall").items()
        if setting.task == RECALL_TASK
        for attention, rnns in [_rivals(evidence, runs)]
        if attention is not None and rnns
        for right in [_right(runs[attention])]
        if right is not None and right.value >= SOLVED and right.low >= FAILED
    ]
    if not loads:
        return undecided(f"{NEEDED}, at a load that the transformer solves")
    load, _, _, attention, rnns, runs, right = max(loads, key=lambda found: found[:3])
    judged = []
    for arch in rnns:
        own, patience = _right(runs[arch]), _patience(runs[attention], runs[arch])
        share = _state_share(runs[arch], runs[attention])
        verdict: Verdict = "not decided"
        if own and own.low >= KNOWN and share is not None and share <= SMALL_STATE:
            verdict = "refuted"
        elif own and own.high < FAILED and patience is not None and patience >= PATIENCE:
            verdict = "supported"
        given = "an unknown multiple of" if patience is None else f"{patience:.1f} times"
        learned = (
            "" if any(map(steps_to_solve, runs[arch].values())) else ", not learned within budget"
        )
        state = "unknown" if share is None else f"{100 * share:.2g} % of its bytes"
        judged.append(
            Judgement(
                verdict=verdict,
                measured=[
                    f"{load} pairs: {arch} is right in {say_share(own)}{learned}; {attention} in "
                    f"{say_share(right)}. Given {given} the steps that {attention} needed, "
                    f"its state {state}"
                ],
                records=[*runs[arch].values(), *runs[attention].values()],
            )
        )
    return together(judged)


def _state_share(ours: Seeds, theirs: Seeds) -> float | None:
    known = [
        [record.state_bytes for record in side.values() if record.state_bytes is not None]
        for side in (ours, theirs)
    ]
    return max(known[0]) / min(known[1]) if all(known) else None


def nonlinear_state_tracks(evidence: Evidence) -> Judgement:
    runs = {arch: seeds for arch, seeds in _hardest(evidence, "state").items()}
    right = {arch: _right(seeds, longest=True) for arch, seeds in runs.items()}
    known = {arch: estimate for arch, estimate in right.items() if estimate is not None}
    rnns, others = _of(known, evidence.archs("nonlinear")), _of(known, _parallel(evidence))
    if not rnns or not others:
        return undecided(f"{NEEDED}, or a scan in the transformer's place")
    verdict: Verdict = "not decided"
    if any(own.low >= KNOWN for own in others) or all(own.high < FAILED for own in rnns):
        verdict = "refuted"
    elif any(own.low >= KNOWN for own in rnns) and all(own.high < FAILED for own in others):
        verdict = "supported"
    return Judgement(
        verdict=verdict,
        measured=[
            f"{arch}: right in {say_share(estimate)} at the longest length asked"
            for arch, estimate in sorted(known.items())
        ],
        records=[record for arch in sorted(known) for record in runs[arch].values()],
    )


def _parallel(evidence: Evidence) -> list[str]:
    return evidence.archs("attention", "window", "scan", "both")


def _of(known: dict[str, Estimate], archs: Iterable[str]) -> list[Estimate]:
    return [known[arch] for arch in archs if arch in known]
