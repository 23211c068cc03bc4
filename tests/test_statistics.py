"""Intervals hold the truth as often as they say; frontiers' areas and bands are what they should.

The truth is known because the numbers are simulated. With `count` draws a share s is known to
±2 √(s (1 - s) / count); the bounds below leave that room.
"""

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from report import attainment, ranking, statistics
from report.attainment import attained, reference, surfaces
from report.choice import best_learning_rates
from report.compare import PANELS, by_seed, compare, trained_setting
from report.statistics import (
    CONFIDENCE,
    Estimate,
    batch_medians,
    beats,
    difference,
    growth,
    interval,
    mean,
    median_step,
    normals,
    redraw,
)
from report.table import tidy
from tests.claim_records import trained
from tests.report_records import ARCHS, machine, record

COUNT = 1500


def holds(estimate, truth):
    return estimate.low <= truth <= estimate.high


def share(outcomes):
    return sum(outcomes) / len(outcomes)


@pytest.fixture
def draw():
    return np.random.default_rng(0)


def steps(draw, count, likeness):
    """Times about 1 whose logs are alike from one to the next: an AR(1) with a long right tail."""
    noise, level, found = draw.standard_normal(count + 50), 0.0, []
    for each in noise:
        level = likeness * level + each * (1 - likeness**2) ** 0.5
        found.append(level)
    values = np.array(found[50:])
    return np.where(values > 0, 1 + 0.1 * values, 1 + 0.03 * values)


@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_over_seeds_hold_the_mean(draw, seeds):
    held = [holds(mean(draw.normal(4.0, 0.3, seeds)), 4.0) for _ in range(COUNT)]
    assert share(held) == pytest.approx(CONFIDENCE, abs=0.015)


def test_three_seeds_span_their_mean_three_times_in_four(draw):
    """Why no bootstrap of the seeds would do: none leaves their range."""
    spans = [draw.normal(size=3) for _ in range(COUNT)]
    assert share([s.min() <= 0 <= s.max() for s in spans]) == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize(
    ("count", "likeness", "least"),
    # twenty steps that are alike are too few for their batches to differ as they should
    [(5, 0.0, 0.92), (20, 0.0, 0.92), (20, 0.5, 0.88), (500, 0.5, 0.93), (500, 0.8, 0.93)],
)
def test_intervals_over_steps_hold_the_median(draw, count, likeness, least):
    held = [holds(median_step(steps(draw, count, likeness)), 1.0) for _ in range(1000)]
    assert share(held) >= least


def test_steps_taken_for_independent_would_be_too_sure(draw):
    """Why batches: intervals from single steps that are alike hold the truth far too rarely."""
    single = [mean(np.log(steps(draw, 500, 0.8))) for _ in range(200)]
    truth = float(np.mean([estimate.value for estimate in single]))
    assert share([holds(estimate, truth) for estimate in single]) < 0.7


def test_every_step_is_in_one_batch():
    assert batch_medians([1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert batch_medians(list(range(10))) == [0.5, 2.5, 4.5, 6.5, 8.5]
    assert median_step([1.0]) is None and mean([1.0]) is None


def pair(draw, apart, scatter=0.01, luck=0.1):
    """Two architectures of three seeds: each seed's text moves both alike."""
    shared = draw.normal(0, luck, 3)
    sides = [shared + draw.normal(0, scatter, 3) for _ in range(2)]
    return dict(enumerate(sides[0] - apart)), dict(enumerate(sides[1]))


def test_luck_convinces_at_most_once_in_twenty_times(draw):
    pairs = [pair(draw, 0.0) for _ in range(COUNT)]
    wrong = [beats(*sides) or beats(*reversed(sides)) for sides in pairs]
    assert share(wrong) <= 0.05 + 0.01


def test_a_planted_advantage_is_seen(draw):
    """Of 0.15 in log, fifteen times what parts seeds of one architecture once they are paired."""
    assert share([beats(*pair(draw, 0.15)) for _ in range(COUNT)]) >= 0.95


def test_pairing_sees_what_unpaired_seeds_hide(draw):
    pairs = [pair(draw, 0.15) for _ in range(300)]
    unpaired = [(ours, {k + 10: v for k, v in theirs.items()}) for ours, theirs in pairs]
    assert share([beats(*sides) for sides in unpaired]) < 0.6


def test_a_difference_takes_two_seeds_a_side():
    assert difference({0: 1.0}, {0: 2.0}) is None
    assert difference({0: 1.0, 1: 2.0}, {2: 1.0}) is None
    assert difference({0: 1.0, 1: 2.0}, {0: 0.0, 1: 1.0}) == Estimate(value=1, low=1, high=1)


def test_growth_is_the_power_and_its_interval_holds_it(draw):
    lengths = [64, 128, 256, 512, 1024, 2048]
    exact = growth(lengths, [3e-3 * length**0.7 for length in lengths])
    assert (exact.low, exact.value, exact.high) == pytest.approx((0.7, 0.7, 0.7))
    flat = growth(lengths, [512.0] * 6)
    assert (flat.low, flat.value, flat.high) == (0, 0, 0)
    assert growth(lengths[:2], [1.0, 2.0]) is None
    held = []
    for _ in range(COUNT):
        noisy = [length**0.7 * np.exp(draw.normal(0, 0.2)) for length in lengths]
        held.append(holds(growth(lengths, noisy), 0.7))
    assert share(held) == pytest.approx(CONFIDENCE, abs=0.015)


def test_redraws_scatter_as_their_samples_and_keep_pairs(draw):
    luck = normals(draw, 3)
    ours = redraw(4.0, {0: 3.9, 1: 4.0, 2: 4.1}, luck, draw)
    theirs = redraw(4.0, {0: 3.9, 1: 4.0, 2: 4.1}, luck, draw)
    assert np.median(ours) == pytest.approx(4.0, rel=0.01)
    assert np.corrcoef(np.log(ours / 4) > 0, np.log(theirs / 4) > 0)[0, 1] == pytest.approx(1)
    assert set(redraw(4.0, {0: 3.9}, normals(draw, 1), draw)) == {4.0}


def hypervolume(points, worst):
    return attainment.moocore.hypervolume(np.array(points, dtype=float), ref=worst)


def test_hypervolume_by_hand():
    # three steps of width one and heights 1, 2, 3 below the corner (4, 4); (3, 3) is beaten
    assert hypervolume([(1, 3), (2, 2), (3, 1), (3, 3)], (4, 4)) == 1 + 2 + 3
    assert hypervolume([(5, 0)], (4, 4)) == 0


def test_hypervolume_agrees_with_a_sweep():
    source = random.Random(0)
    for _ in range(50):
        points = [(source.random(), source.random()) for _ in range(source.randint(1, 12))]
        area, best = 0.0, 1.0
        for (x, y), (until, _) in pairwise([*sorted(points), (1.0, 1.0)]):
            best = min(best, y)
            area += (until - x) * (1 - best)
        assert hypervolume(points, (1, 1)) == pytest.approx(area)


def test_attainment_by_hand():
    """Of 100 frontiers of two points: 1 good, 98 middling, 1 poor."""
    points = np.array([(1, 1), *[(2, 2)] * 98, (3, 3)], dtype=float)
    pairs = np.stack([points, points + np.array([1, -1])], axis=1).reshape(-1, 2)
    reached = surfaces(pairs, np.repeat(np.arange(100), 2))
    assert reached["best"].tolist() == [[2, 2], [3, 1]]
    assert reached["worst"].tolist() == [[2, 2], [3, 1]]
    halves = np.array([(1, 1)] * 50 + [(2, 2)] * 50, dtype=float)
    reached = surfaces(halves, np.arange(100))
    assert reached["best"].tolist() == [[1, 1]] and reached["worst"].tolist() == [[2, 2]]


def known_frontier(draw, scatter, apart):
    """Whether the interval held the true area: five points, perplexities of three noisy seeds."""
    costs = np.arange(5.0)
    truth = np.column_stack([costs, 2 - apart * costs])
    worst = truth.max(axis=0) + 1
    seeds = truth[:, 1, None] + draw.normal(0, scatter, (5, 3))
    luck = normals(draw, 3)
    drawn = [redraw(2 ** s.mean(), dict(enumerate(2**s)), luck, draw)[:300] for s in seeds]
    redrawn = [np.column_stack([costs, np.log2(each)]) for each in zip(*drawn, strict=True)]
    areas = np.array([hypervolume(points, worst) for points in redrawn])
    measured = hypervolume(np.column_stack([costs, seeds.mean(axis=1)]), worst)
    return holds(interval(measured, areas), hypervolume(truth, worst))


@pytest.mark.parametrize("apart", [0.0, 0.02, 0.1])
def test_the_interval_of_the_area_holds_it_though_frontiers_favour_luck(draw, apart):
    held = [known_frontier(draw, 0.03, apart) for _ in range(150)]
    assert share(held) >= 0.92


def compared(records):
    return compare(tidy(records), PANELS[0]), records, list(best_learning_rates(records))


def test_a_frontier_is_redrawn_with_its_points():
    comparison, records, chosen = compared(machine(seeds=3))
    found = attained(comparison, records, chosen, reference([comparison]))
    assert found.seeds == 3
    assert found.share_with(ARCHS) == 1
    assert found.share_with(comparison.leaders) >= 0.95
    # what is worse on both axes by far is on no frontier
    assert found.share_with(["gpt2"]) < 0.01
    assert found.hypervolume.low < found.hypervolume.value < found.hypervolume.high
    again = attained(comparison, records, chosen, reference([comparison]))
    assert again.hypervolume == found.hypervolume


def test_one_seed_leaves_perplexity_without_scatter():
    comparison, records, chosen = compared(machine())
    found = attained(comparison, records, chosen, reference([comparison]))
    assert found.seeds == 1
    measured = set(np.round(comparison.points["perplexity"], 9))
    assert {round(y, 9) for y in found.surfaces["best"][:, 1]} <= measured


def test_what_is_counted_has_no_scatter(draw):
    trains = [record("train", step_s=(1.0, 2.0), peak_bytes=7)]
    metric = next(panel.metric for panel in PANELS if panel.metric.name == "peak_memory")
    assert set(attainment.costs(metric, trains, draw)) == {7.0}


def test_the_reference_is_a_doubling_beyond_the_worst_of_all():
    small, _, _ = compared(machine())
    slow = replace(small, points=small.points.assign(cost=small.points["cost"] / 8))
    worst = reference([small, slow])
    assert worst[0] == pytest.approx(-np.log2(small.points["cost"].min()) + 3 + 1)
    assert worst[1] == pytest.approx(np.log2(small.points["perplexity"].max()) + 1)


def test_the_ranking_says_who_is_better_than_whom():
    runs = [*trained("attentive", 1.2), *trained("elman", 1.3), *trained("gated", 1.3)]
    chosen = list(best_learning_rates(runs))
    setting = trained_setting(tidy(runs))
    assert set(by_seed(chosen, setting)) == {"attentive", "elman", "gated"}
    lines = ranking.ranking(chosen, setting).set_index("architecture")
    assert lines.index[0] == "attentive"
    assert set(lines.loc["attentive", "better than"].split(", ")) == {"elman", "gated"}
    assert lines.loc["elman", "better than"] == "–"
    assert ranking.ranking([], None).equals(pd.DataFrame())


def test_two_sigma_is_what_it_is_called():
    assert pytest.approx(0.9545, abs=1e-4) == CONFIDENCE
    assert statistics._student(2) == pytest.approx(4.53, abs=0.01)
