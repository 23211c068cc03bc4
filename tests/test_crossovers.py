"""Where costs cross: planted power laws, equal curves, and how often the intervals are right."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from report.crossovers import COSTS, contest, crossovers, curves, sentences, table, told_table
from report.statistics import CONFIDENCE
from tests.claim_records import LENGTHS, OPS, evidence, trained
from tests.report_records import record

DECODE = COSTS[0]


def decoding(arch, step_s, power, random, noise=0.02, lengths=LENGTHS, kind="gated"):
    """Steps of step_s · (length / the first)^power, each with its own noise in log."""
    return [
        record(
            "decode",
            arch,
            seq_len=n,
            step_s=tuple(step_s * (n / lengths[0]) ** power * np.exp(random.normal(0, noise, 20))),
            kernels=OPS[kind],
        )
        for n in lengths
    ]


def reading(arch, state_bytes, kind="gated", lengths=LENGTHS):
    return [
        record(
            "prefill",
            arch,
            seq_len=n,
            step_s=(0.1,) * 5,
            state_bytes=round(state_bytes(n)),
            kernels=OPS[kind],
        )
        for n in lengths
    ]


def crossed(found):
    return [each for one in found.contests for each in one.crossings]


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_planted_power_laws_cross_where_they_were_planted(noise):
    random = np.random.default_rng(0)
    meeting = 700.0
    growing = decoding("growing", 1e-3, 0.5, random, noise, kind="attentive")
    flat = decoding("flat", 1e-3 * (meeting / LENGTHS[0]) ** 0.5, 0.0, random, noise)
    found = crossovers(evidence([*growing, *flat]))
    (crossing,) = crossed(found)
    assert (crossing.first, crossing.then) == ("growing", "flat")
    assert (crossing.after, crossing.before) == (256, 1024)
    assert crossing.at.low <= crossing.at.value <= crossing.at.high
    assert crossing.at.value == pytest.approx(meeting, rel=0.03 if noise else 1e-9)
    assert next(sentences(found)).startswith(
        "flat passes growing in decode tokens/s between 256 and 1k, at about 7"
    )
    (row,) = table(found).dropna(subset="at").to_dict("records")
    assert (row["cost"], row["outcome"]) == ("decode_throughput", "crossing")
    assert row["at"] == crossing.at.value


def test_curves_that_cross_twice_do_so_in_two_sentences():
    bow = [
        *decoding("bow", 1e-3, 0.0, np.random.default_rng(0), 0.001, LENGTHS[:1]),
        *decoding("bow", 4e-3, 0.0, np.random.default_rng(1), 0.001, LENGTHS[1:3]),
        *decoding("bow", 1e-3, 0.0, np.random.default_rng(2), 0.001, LENGTHS[3:]),
    ]
    flat = decoding("flat", 2e-3, 0.0, np.random.default_rng(3), 0.001)
    there, back = crossed(crossovers(evidence([*bow, *flat])))
    assert (there.first, there.then) == (back.then, back.first) == ("bow", "flat")
    assert (there.at.value, back.at.value) == (
        pytest.approx(128, rel=0.01),
        pytest.approx(2048, rel=0.01),
    )


def test_nothing_is_said_beyond_the_measured_lengths():
    random = np.random.default_rng(0)
    growing = decoding("growing", 1e-3, 0.5, random, kind="attentive")
    flat = decoding("flat", 1e-3 * (40_000 / LENGTHS[0]) ** 0.5, 0.0, random)
    found = crossovers(evidence([*growing, *flat]))
    assert crossed(found) == []
    assert list(sentences(found)) == [
        "In decode tokens/s no two families' best cross within 64 to 16,384 tokens."
    ]
    assert table(found)["outcome"].tolist() == ["growing throughout"]
    assert table(found)[["at", "low", "high"]].isna().all(axis=None)


def test_only_shared_lengths_count():
    random = np.random.default_rng(0)
    short = decoding("short", 1e-3, 0.5, random, lengths=LENGTHS[:1], kind="attentive")
    assert crossovers(evidence([*short, *decoding("flat", 2e-3, 0.0, random)])).contests == []


def test_counted_bytes_cross_without_an_interval():
    cache = reading("cache", lambda n: 10 * n, "attentive")
    found = crossovers(evidence([*cache, *reading("vector", lambda n: 5120)]))
    (crossing,) = crossed(found)
    assert (crossing.after, crossing.before) == (256, 1024)
    assert crossing.at.low == crossing.at.value == crossing.at.high == pytest.approx(512)
    assert "at about 510 tokens" in next(s for s in sentences(found) if "passes" in s)


def test_equal_bytes_do_not_cross():
    found = crossovers(evidence([*reading("a", lambda n: n), *reading("b", lambda n: n)]))
    assert crossed(found) == []
    outcomes = table(found).set_index("cost")["outcome"]
    assert outcomes["state"] == "not told apart"


def test_a_single_step_decides_nothing():
    once = [record("decode", "once", seq_len=n, step_s=(1e-3 * n,)) for n in LENGTHS]
    flat = decoding("flat", 1.0, 0.0, np.random.default_rng(0))
    assert crossovers(evidence([*once, *flat])).contests == []


def test_equal_curves_hardly_ever_cross():
    """Forty draws of one curve: a crossing takes two opposite mistakes of a tail each."""
    random = np.random.default_rng(1)
    same = [r for i in range(40) for r in decoding(f"a{i:02d}", 1e-3, 0.3, random)]
    found = crossovers(evidence(same))
    assert len(found.contests) == 40 * 39 // 2
    assert len([one for one in found.contests if one.crossings]) < 0.005 * len(found.contests)


def test_intervals_hold_the_truth_as_often_as_they_say():
    random, meeting, pairs = np.random.default_rng(2), 1500.0, 250
    at = 1e-3 * (meeting / LENGTHS[0]) ** 0.2
    records = [
        each
        for i in range(pairs)
        for each in (
            *decoding(f"a{i:03d}", 1e-3, 0.2, random, 0.04),
            *decoding(f"b{i:03d}", at, 0.0, random, 0.04),
        )
    ]
    found = curves(evidence(records), DECODE)
    contests = [
        contest(DECODE, (a, b), found[a], found[b])
        for a, b in ((f"a{i:03d}", f"b{i:03d}") for i in range(pairs))
    ]
    intervals = [each.at for one in contests for each in one.crossings]
    assert len(intervals) == pairs
    held = sum(at.low <= meeting <= at.high for at in intervals)
    low, high = stats.binom.interval(0.998, pairs, CONFIDENCE)
    assert low <= held <= high


def test_families_speak_through_their_best_by_validation():
    random = np.random.default_rng(0)
    quick, slow = (
        decoding(arch, step_s, 0.5, random, kind="attentive")
        for arch, step_s in (("quick", 1e-3), ("slow", 2e-3))
    )
    flat = decoding("flat", 1e-3 * math.sqrt(10), 0.0, random)
    found = crossovers(evidence([*quick, *slow, *flat]))
    assert [one.pair for one in found.told] == [("flat", "quick")]
    learned = [("quick", 3.0), ("slow", 2.0), ("flat", 2.5)]
    runs = [
        each
        for arch, nats in learned
        for each in trained("attentive" if arch != "flat" else "gated", nats, seeds=1)
    ]
    named = [
        record(
            "quality",
            arch,
            seq_len=512,
            evaluations=run.evaluations,
            kernels=run.kernels,
        )
        for (arch, _), run in zip(learned, runs, strict=True)
    ]
    found = crossovers(evidence([*quick, *slow, *flat, *named]))
    assert [one.pair for one in found.told] == [("flat", "slow")]
    assert told_table(found)["pair"].tolist() == ["flat / slow"]


def test_lengths_between_are_only_undecided_where_the_lines_meet():
    random = np.random.default_rng(0)
    growing = decoding("growing", 1e-3, 0.1, random, 0.05, kind="attentive")
    flat = decoding("flat", 1e-3 * 4**0.1, 0.0, random, 0.05)
    (one,) = crossovers(evidence([*growing, *flat])).contests
    assert one.ahead[256] is None and one.ahead[16384] == "flat"
    changes = [(a, b) for a, b in pairwise(filter(None, one.ahead.values())) if a != b]
    assert len(changes) == len(one.crossings)
