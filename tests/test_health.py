"""What the report makes of sentinels, sensors and probes."""

import pytest

from report import health, metrics
from report.__main__ import main
from report.summary import what_fits
from report.table import tidy
from results import Probe, Reading, Visit
from tests.report_records import record


def timed(sentinel_s, phase="train", **given):
    return record(phase, sentinel_s=sentinel_s, step_s=(0.5, 0.5), **given)


STEADY = [timed((0.01,) * 6, seq_len=length) for length in (1, 2, 3, 4, 5)]


def test_a_sentinel_that_moved_is_told_with_its_farther_side():
    slower_after = timed((0.01, 0.01, 0.011, 0.013, 0.012, 0.012), seq_len=6)
    faster_before = timed((0.008, 0.008, 0.008, 0.01, 0.01, 0.01), seq_len=7)
    within = timed((0.0105,) * 6, seq_len=8)
    records = [*STEADY, slower_after, faster_before, within]
    usual_s = health.usual_s(records)
    assert usual_s == 0.01
    assert health.drift(slower_after, usual_s) == pytest.approx(0.2)
    assert health.drift(faster_before, usual_s) == pytest.approx(-0.2)
    assert health.disturbances(records, usual_s) == [
        f"{slower_after.case}: the sentinel took 12 ms, +20% of its usual 10 ms",
        f"{faster_before.case}: the sentinel took 8 ms, -20% of its usual 10 ms",
    ]
    assert health.steadiness(records, usual_s) == {"sentinel": "10 ms, by cell -20% to +20%"}


def test_what_was_timed_again_is_counted():
    twice = timed((0.01,) * 2, set_aside=(Visit(step_s=(1.0,), sentinel_s=(0.02,) * 2),))
    told = health.steadiness([twice, timed((0.01,) * 2, seq_len=2)], 0.01)
    assert told["timed again"].startswith("1 cell, as the sentinel")


def test_without_a_sentinel_nothing_is_said():
    bare = record("train", step_s=(0.5,))
    usual_s = health.usual_s([bare])
    assert health.drift(bare, usual_s) is None
    assert health.disturbances([bare], usual_s) == [] and health.steadiness([bare], usual_s) == {}


def test_throttling_is_told_by_cause_and_idling_is_not_throttling():
    capped = (Reading(throttle=("idle",)), Reading(throttle=("power cap",)), Reading())
    records = [timed((), seq_len=length, sensors=capped) for length in range(1, 8)]
    (told,) = health.disturbances(records, 0.0)
    assert told.startswith("power cap held the clocks down in 7 cells: train-gru-tiny-T1-B1-")
    assert told.endswith("and 2 more")


def test_energy_is_what_the_counter_moved_over_the_tokens_of_all_steps():
    energy = metrics.METRICS["energy"].of
    sensors = (Reading(energy_j=100.0), Reading(energy_j=150.0), Reading(energy_j=228.0))
    assert energy(timed((), seq_len=16, batch=4, sensors=sensors)) == 128 / (2 * 4 * 16)
    assert energy(timed((), "decode", seq_len=16, batch=4, sensors=sensors)) == 128 / (2 * 4)
    assert energy(timed((), sensors=(Reading(), Reading()))) is None
    assert energy(timed(())) is None


def limit(grows, steps_of="train", fitted=(1, 2, 4), failed=(8, 6), **given):
    probes = [Probe(size=size, fitted=True, peak_bytes=size) for size in fitted]
    probes += [Probe(size=size, fitted=False, peak_bytes=None) for size in failed]
    return record("limits", grows=grows, steps_of=steps_of, probes=tuple(probes), **given)


def test_the_largest_that_fits_is_read_from_the_probes():
    oom = {"fitted": (), "failed": (1,), "status": "oom"}
    records = [
        limit("batch", seq_len=2048),
        limit("seq_len", fitted=(512, 1024), failed=()),
        limit("batch", arch="lstm", seq_len=2048, **oom),
        limit("batch", steps_of="decode", seq_len=2048, memory_bytes=2**29),
    ]
    ours, theirs = what_fits(tidy(records))
    assert ours[0] == "Fits into memory: limits of decode in 512 MiB, found by bisection"
    assert ours[1].to_dict("list") == {"architecture": ["gru"], "largest batch at 2k": ["4"]}
    assert theirs[1].to_dict("list") == {
        "architecture": ["gru", "lstm"],
        "greatest length at batch 1": ["≥ 1024", "–"],
        "largest batch at 2k": ["4", "OOM"],
    }


def test_the_page_lists_what_was_not_itself(tmp_path, capsys):
    moved = timed((0.02,) * 6, seq_len=6)
    for each in (*STEADY, moved, limit("batch", seq_len=2048)):
        each.save(tmp_path / "results")
    out = tmp_path / "out"
    assert main(["build", "--results", str(tmp_path / "results"), "--out", str(out)]) == 0
    assert "the machine was not itself (1: see the page)" in capsys.readouterr().err
    page = (out / "index.html").read_text()
    assert "The machine was not itself (1)" in page and str(moved.case) in page
    assert "Fits into memory: limits of train" in page
