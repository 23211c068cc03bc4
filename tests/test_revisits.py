"""Which cells are measured again, and which visit is kept: the sentinel says, never the steps."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from msgspec.structs import replace

from benchmarks import conftest, harness, timing
from benchmarks.harness import Ledger
from benchmarks.isolation import Halt
from benchmarks.machine import Environment
from benchmarks.revisits import calm_s, calmer, line, to_revisit, until_calm
from results import Case, Visit
from tests.report_records import record

CALM = (0.0025, 0.0026, 0.0025) * 2
LATE = (0.0025, 0.0026, 0.0025, 0.0040, 0.0041, 0.0040)  # disturbed only after the steps
ONCE = (0.0025, 0.0090, 0.0025) * 2  # one hiccup in three


def visited(sentinel_s, step_s=(0.1, 0.2), status="ok", **kwargs):
    return replace(record("decode", **kwargs), sentinel_s=sentinel_s, step_s=step_s, status=status)


def test_disturbed_cells_are_found_the_worst_first():
    quiet = [visited(CALM) for _ in range(7)]
    worst, late = visited(tuple(2 * s for s in CALM)), visited(LATE)
    assert to_revisit([late, *quiet, worst, visited(ONCE)]) == [worst, late]


def test_calm_is_known_where_most_cells_were_disturbed():
    cells = [visited(CALM)] * 4 + [visited(tuple(1.5 * s for s in CALM))] * 8
    assert calm_s(cells) == pytest.approx(0.0025)
    assert len(to_revisit(cells)) == 8


def test_too_few_cells_say_nothing():
    assert to_revisit([visited(CALM)] * 5 + [visited(LATE)] * 2) == []


def test_no_cell_is_visited_without_end():
    twice = replace(visited(LATE), set_aside=(Visit(step_s=(1.0,), sentinel_s=LATE),) * 2)
    assert to_revisit([visited(CALM)] * 8 + [twice]) == []


@pytest.mark.parametrize("slow_s", [0.05, 0.5])
def test_the_sentinel_decides_whatever_the_steps_say(slow_s):
    disturbed, calm = visited(LATE), visited(CALM, (slow_s, slow_s))
    for first, again in ((disturbed, calm), (calm, disturbed)):
        kept = calmer(first, again)
        assert (kept.step_s, kept.sentinel_s) == (calm.step_s, calm.sentinel_s)
        assert kept.set_aside == (Visit(step_s=disturbed.step_s, sentinel_s=disturbed.sentinel_s),)


def test_all_visits_stay_on_record():
    kept = calmer(calmer(visited(LATE, (1.0,)), visited(LATE, (2.0,))), visited(CALM, (3.0,)))
    assert kept.step_s == (3.0,)
    assert sorted(visit.step_s for visit in kept.set_aside) == [(1.0,), (2.0,)]


def test_a_visit_that_failed_replaces_no_answer():
    first, failed = visited(LATE), visited((), (), status="timeout")
    assert calmer(first, failed) == first


def test_a_sweep_goes_on_until_all_is_calm_or_time_is_up():
    cells = [visited(CALM, seed=seed) for seed in range(8)]
    cells += [visited(LATE, seed=8), visited(tuple(2 * s for s in CALM), seed=9)]

    def again(first):
        return calmer(first, replace(first, sentinel_s=CALM))

    timed = {cell.case: cell for cell in cells}
    seen = [first.case.seed for first, _ in until_calm(timed, again, lambda: True)]
    assert seen == [9, 8]
    assert to_revisit(timed.values()) == [] and len(timed) == 10

    timed, time_left = {cell.case: cell for cell in cells}, iter([True, False])
    assert len(list(until_calm(timed, again, lambda: next(time_left)))) == 1


ENV = Environment(device="cpu", label="none", machine={}, versions={}, commit=None)


@pytest.fixture
def first(monkeypatch):
    """A cell measured while the machine was disturbed; from here on it is calm."""
    case = Case(phase="decode", arch="gru", size="100k", seq_len=8, batch=1)
    monkeypatch.setattr(timing, "sentinel_s", lambda device: (0.004,) * 3)
    monkeypatch.setattr(harness, "WARMUP_S", {"cpu": 0.0})
    monkeypatch.setattr(harness, "MEASURE_S", {"cpu": 0.0})
    found = harness.measure(case, ENV, stopwatch=timing.by_clock)
    monkeypatch.setattr(timing, "sentinel_s", lambda device: (0.0025,) * 3)
    return found


def test_another_visit_times_the_same_cell(first):
    kept = harness.revisit(first, ENV, 60.0, Ledger())
    assert kept.sentinel_s == (0.0025,) * 6 and kept.step_s != first.step_s
    assert kept.set_aside == (Visit(step_s=first.step_s, sentinel_s=first.sentinel_s),)
    assert kept.peak_bytes == first.peak_bytes and kept.state_bytes == first.state_bytes
    assert line(first, kept).endswith("the sentinel took 4.0 ms, 2.5 ms now: kept")
    assert line(kept, replace(kept, set_aside=first.set_aside)).endswith("no less now: set aside")


def test_a_visit_without_time_leaves_the_first(first):
    kept = harness.revisit(first, ENV, -1.0, Ledger())
    assert kept == first and line(first, kept).endswith("this visit did not finish")


def test_a_visit_that_cannot_be_kept_ends_the_sweep():
    sweep = Mock(last_timed="a case", **{"revisit.side_effect": Halt("no room")})
    item = Mock(
        **{"config.stash": {conftest.SESSION: sweep}, "callspec.params": {"case": "a case"}}
    )
    told = conftest.pytest_runtest_makereport(item, None)
    next(told)
    with pytest.raises(StopIteration):
        told.send(SimpleNamespace(when="teardown"))
    assert item.session.shouldfail == "no room"
