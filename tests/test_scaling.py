"""Scaling: laws found again where they were planted, best sizes only where they are bracketed."""

import pytest
from msgspec.structs import replace

from archs._sizes import GRID, NAMED
from benchmarks import harness, sweep, tiers
from report import scaling, studies
from report.plots.style import styles
from tests.report_records import quality
from tests.scaling_records import BUDGETS, LAW, SIZES, again, broken, planted, seeds
from tests.test_quality import ENV, text
from tests.test_tasks import Options

__all__ = ["text"]  # a fixture


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(scaling, "DRAWS", 30)


def test_a_planted_law_is_found_again():
    points = scaling.points(planted())
    found = scaling.fit(points)
    assert (found.alpha, found.beta) == pytest.approx((LAW.alpha, LAW.beta), rel=1e-3)
    assert pytest.approx((LAW.E, LAW.A, LAW.B), rel=2e-2) == (found.E, found.A, found.B)
    huber = scaling.fit_huber(points)
    assert (huber.alpha, huber.beta, huber.E) == pytest.approx(
        (LAW.alpha, LAW.beta, LAW.E), rel=0.05
    )


def best_size(flops):
    """N* = G (C/6)^(β/(α+β)), G = (α A / (β B))^(1/(α+β)), Hoffmann et al., section 3.3."""
    scale = (LAW.alpha * LAW.A / (LAW.beta * LAW.B)) ** (1 / (LAW.alpha + LAW.beta))
    return scale * (flops / 6) ** (LAW.beta / (LAW.alpha + LAW.beta))


def test_best_sizes_are_those_of_the_law():
    records = []
    for flops in BUDGETS:
        near = [round(best_size(flops) * times) for times in (0.3, 0.6, 1.1, 1.8, 3)]
        records += planted(sizes=near, budgets=[flops])
    points = scaling.points(records)
    best = scaling.optima(points)
    assert [one.flops for one in best] == BUDGETS
    for one in best:  # a parabola is nearly the law
        assert one.params == pytest.approx(best_size(one.flops), rel=0.05)
    assert LAW.exponent == pytest.approx(LAW.beta / (LAW.alpha + LAW.beta))
    assert scaling.exponent(points).value == pytest.approx(LAW.exponent, abs=0.01)


@pytest.mark.parametrize("kept", [SIZES[:4], SIZES[-4:]])
def test_a_best_size_outside_those_trained_is_not_told(kept):
    """The optimum at 1e20 FLOPs is near 1e9 parameters, at 1e18 near 1e8."""
    flops = 10**21 if kept == SIZES[:4] else 10**16
    assert scaling.optimum(scaling.points(planted(sizes=kept, budgets=[flops]))) is None


def test_few_sizes_make_no_parabola():
    assert scaling.optimum(scaling.points(planted(sizes=SIZES[:3], budgets=BUDGETS[:1]))) is None


def test_the_greatest_budget_is_predicted_and_not_fitted():
    (one,) = scaling.readings(planted())
    assert one.error < 1e-3
    (off,) = scaling.readings(broken(planted()))
    assert off.law == one.law and off.error == pytest.approx(1 - 1 / 1.1, abs=1e-3)
    assert scaling.readings(planted(budgets=BUDGETS[:3])) == []


def test_intervals_hold_the_planted_powers():
    (one,) = scaling.readings(planted(noise=0.003))
    for estimate, true in ((one.alpha, LAW.alpha), (one.beta, LAW.beta), (one.E, LAW.E)):
        assert estimate.low < true < estimate.high


@pytest.mark.parametrize(
    ("losses", "given", "gained"),
    [((2.5, 2.2, 2.0, 1.9), 1, 1 - 1.9 / 2.2), ((2.5, 2.2, 1.8, 2.3), 2, 1 - 2.3 / 2.2)],
)
def test_what_size_gains_is_told_of_trainings_stopped_in_time(losses, given, gained):
    ((_, sizes),) = scaling.repeated(seeds(losses, given)).items()
    assert list(sizes) == [1000, 2000, 4000, 8000]
    assert scaling.gain(sizes) == pytest.approx(dict.fromkeys(range(given), gained))
    assert scaling.gain({params: sizes[params] for params in (4000, 8000)}) is None


def test_a_study_has_a_figure_and_tables(tmp_path):
    records = planted(noise=1e-3) + planted(noise=1e-3, arch="lstm") + again((2.5, 2.2, 2, 1.9))
    (study,) = studies.studies(records, styles(["gru", "lstm"]))
    (drawing,) = study.drawings
    assert len(drawing.data) == 2 * len(SIZES) * len(BUDGETS)
    assert all(path.stat().st_size for path in drawing.save(tmp_path))
    tables = dict(study.tables)
    assert list(tables["Laws over size and text"]["architecture"]) == ["gru", "lstm"]
    assert len(tables["Where each budget is best spent"]) == 2 * len(BUDGETS)
    assert list(tables["Little text, read many times"]["nats/token, stopped early"]) == [
        "2.500",
        "2.200",
        "2.000",
        "1.900",
    ]


def test_the_cpu_tier_asks_for_sizes_on_each_budget():
    asked = sweep.cases(Options(phase=["scaling"]), "cpu", "sotu")
    grids = {case.flops: set() for case in asked}
    for case in asked:
        grids[case.flops].add(case.size)
        assert case.size in GRID and case.size not in NAMED
        assert case.tokens // (case.batch * case.seq_len) >= 100
    assert len(grids) == 5 and all(len(sizes) >= 4 for sizes in grids.values())
    assert "scaling" not in {case.phase for case in sweep.cases(Options(tier="cpu"), "cpu", "sotu")}
    one_budget = sweep.cases(Options(phase=["scaling"], flops=3e11), "cpu", "sotu")
    assert {case.flops for case in one_budget} == {3 * 10**11}
    assert len(set(one_budget)) == len(one_budget)
    assert tiers.load("gpu")


def test_a_scaling_record_has_what_the_law_needs(text):
    given = {"size": "d8", "seq_len": 16, "batch": 2, "tokens": 640, "flops": 10**6}
    asked = replace(quality("gru").case, phase="scaling", **given)
    record = harness.measure(asked, ENV, corpus=text)
    assert record.status == "ok" and record.progress == ()
    assert {(e.split, e.context) for e in record.evaluations} == {("valid", 16), ("test", 16)}
    again = harness.measure(replace(asked, flops=None, unique_bytes=64), ENV, corpus=text)
    assert len(again.progress) == 20 and again.progress[-1].step == 20
    valid = next(e for e in again.evaluations if e.split == "valid")
    # the last look is at the trained model
    last = again.progress[-1]
    assert last.nats == pytest.approx(sum(valid.nats)) and last.answers == sum(valid.tokens)
    # it reads the first bytes only: what it has by heart, no other text tells it
    assert str(again.case).endswith("-of64-s0")
