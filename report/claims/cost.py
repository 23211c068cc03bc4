"""Claims about memory, time and parallelism, judged by the growth of a cost with length.

A growth is the slope of log cost against log length: 0 is constant, 1 is in proportion.
"""

from collections.abc import Iterable

from report.claims.evidence import (
    Evidence,
    Family,
    Judgement,
    Range,
    decide,
    grown,
    half,
    say,
    together,
    undecided,
)
from results import Record

# Thresholds of the project's feasibility study, which timed attention and an LSTM at contexts of
# 128 to 32,768: constant within 0.05, and in proportion from 0.8 on where the fixed cost of a token
# no longer hides it
FLAT = Range(low=-0.05, high=0.05)
PROPORTIONAL = Range(low=0.8)
# at the same tokens a step, tokens/s of what is computed step by step fall as 1 / length (-1), and
# of what is parallel over length not at all (0); the middle parts them
PARALLEL, SEQUENTIAL = Range(low=-0.5), Range(high=-0.5)

NOUNS = {"state": "state bytes", "decode_latency": "time per token", "train_throughput": "tokens/s"}


def _over(
    cells: dict[str, list[Record]],
    archs: Iterable[str],
    metric: str,
    supports: Range,
    refutes: Iterable[Range],
) -> list[Judgement]:
    """One judgement for each of `archs` that was measured."""
    judged = []
    for arch in archs:
        records = cells.get(arch, [])
        if not records:
            continue
        slope = grown(metric, records)
        verdicts = [decide(slope, supports, other) for other in refutes]
        lengths = sorted({record.case.seq_len for record in records})
        where = (
            f"over length {lengths[0]:,} to {lengths[-1]:,}"
            if len(lengths) > 1
            else "at one length"
        )
        judged.append(
            Judgement(
                verdict="refuted" if "refuted" in verdicts else verdicts[0],
                measured=[f"{arch}: {NOUNS[metric]}, slope {say(slope)} {where}"],
                records=records,
            )
        )
    return judged


def _constant(evidence: Evidence, metric: str, phase: str) -> Judgement:
    cells = evidence.cells(metric, phase)
    outside = Range(low=FLAT.high), Range(high=FLAT.low)
    judged = _over(cells, evidence.archs("nonlinear", "scan"), metric, FLAT, outside)
    return together(judged) if judged else undecided("not measured")


def _proportional(evidence: Evidence, metric: str, phase: str) -> Judgement:
    cells = evidence.cells(metric, phase)
    long = {arch: half(records, longer=True) for arch, records in cells.items()}
    flat = (Range(high=FLAT.high),)
    judged = _over(long, evidence.archs("attention"), metric, PROPORTIONAL, flat)
    return together(judged) if judged else undecided("not measured")


def recurrent_state(evidence: Evidence) -> Judgement:
    return _constant(evidence, "state", "prefill")


def recurrent_time(evidence: Evidence) -> Judgement:
    return _constant(evidence, "decode_latency", "decode")


def attention_state(evidence: Evidence) -> Judgement:
    return _proportional(evidence, "state", "prefill")


def attention_time(evidence: Evidence) -> Judgement:
    return _proportional(evidence, "decode_latency", "decode")


def parallel_training(evidence: Evidence) -> Judgement:
    """In the shorter half of the lengths, where attention's square does not weigh yet."""
    cells = {
        arch: half(records, longer=False)
        for arch, records in evidence.cells("train_throughput", "train").items()
    }
    steps = {r.case.batch * r.case.seq_len for records in cells.values() for r in records}
    if len(steps) > 1:
        return undecided("the tokens of a step differ from length to length")
    families: dict[Family, tuple[Range, Range]] = {
        "attention": (PARALLEL, SEQUENTIAL),
        "window": (PARALLEL, SEQUENTIAL),
        "both": (PARALLEL, SEQUENTIAL),
        "scan": (PARALLEL, SEQUENTIAL),
        "nonlinear": (SEQUENTIAL, PARALLEL),
    }
    judged = {
        family: _over(cells, evidence.archs(family), "train_throughput", supports, [refutes])
        for family, (supports, refutes) in families.items()
    }
    parallel = [one for family in families if family != "nonlinear" for one in judged[family]]
    if not judged["nonlinear"] or not parallel:
        return undecided("not measured: it takes both a transformer or scan and a nonlinear RNN")
    return together(one for family in judged.values() for one in family)
