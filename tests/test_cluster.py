"""The same cells on several machines: plans, seats, and what a lost node costs."""

import argparse
import dataclasses

import pytest
from msgspec.structs import replace

import results
from benchmarks.__main__ import main
from benchmarks.claim import Claim
from benchmarks.cluster import command, node, plan
from benchmarks.cluster.hand import Hand
from benchmarks.cluster.job import LOST, is_timed
from benchmarks.cluster.seat import Seat
from results import Case, Record

LABEL = "box"
DECODE = Case(phase="decode", arch="rnn", size="100k", seq_len=16, batch=1)
TRAINED = Case(
    phase="state",
    arch="rnn",
    size="100k",
    seq_len=8,
    batch=4,
    task="parity",
    load=1,
    tokens=64,
    lr=0.01,
)
TINY = ["--arch", "rnn,gru", "--task", "parity", "--seq-len", "8", "--tokens", "64", "--load", "1"]
TINY += ["--lr", "0.01", "--device", "cpu"]


def record(case, label=LABEL, took_s=1.0, status="ok", machine=None):
    return Record(
        case=case,
        label=label,
        status=status,
        measured_at="2026-01-01T00:00:00+00:00",
        commit=None,
        versions={},
        machine={"device": "cpu", "cpu": "a", "cores": 2} if machine is None else machine,
        took_s=took_s,
    )


def options(root, *words):
    parser = argparse.ArgumentParser()
    command.add_options(parser)
    return parser.parse_args([*TINY, "--results", str(root), *words])


def told(root, *words):
    asked = options(root, *words)
    return "\n".join(plan.told(plan.make(asked), asked))


def test_an_estimate_is_the_median_of_like_cells(tmp_path):
    for seed, took_s in enumerate((1.0, 2.0, 30.0)):
        record(replace(TRAINED, seed=seed, lr=0.5), took_s=took_s).save(tmp_path)
    record(replace(TRAINED, seed=3), took_s=99.0, status="timeout").save(tmp_path)
    record(TRAINED, "gpu", 99.0, machine={"device": "cuda"}).save(tmp_path)
    estimates = plan.Estimates(results.load(root=tmp_path).records, "cpu")
    assert estimates.of(replace(TRAINED, seed=7)) == 2.0
    assert estimates.of(replace(TRAINED, tokens=128)) is None
    assert "box (3)" in estimates.source() and "gpu" not in estimates.source()


def test_a_plan_adds_up_hours_and_cost_and_names_what_it_cannot_estimate(tmp_path):
    asked = ["--seed", "0,1,2", "--batch", "4"]
    cases = plan.make(options(tmp_path, *asked)).cases
    record(replace(next(c for c in cases if c.arch == "rnn"), seed=9), took_s=3600.0).save(tmp_path)
    said = told(tmp_path, *asked, "--price", "2", "--timeout", "1800")
    assert "in all 3.00 node-hours for 3 cells" in said and "node-hours: 6.00" in said
    assert (
        "no estimate for 3 cells, by --timeout at most 1.50 node-hours more: state gru 100k (3)"
        in said
    )
    packed = told(tmp_path, *asked, "--price", "2", "--pack", "2")
    assert "in all 1.50 node-hours" in packed and "each taken to be as quick as alone" in packed


def test_a_plan_leaves_out_what_the_label_has_and_no_error(tmp_path):
    cases = plan.make(options(tmp_path)).cases
    record(cases[0]).save(tmp_path)
    record(cases[1], status="error").save(tmp_path)
    planned = plan.make(options(tmp_path, "--label", LABEL))
    assert planned.had == {cases[0]} and planned.todo == list(cases[1:])
    assert plan.make(options(tmp_path)).had == set()
    assert plan.make(options(tmp_path, "--label", LABEL, "--fresh")).had == set()


def test_a_dry_run_starts_nothing(tmp_path, capsys):
    asked = ["submit", "--dry-run", "--price", "1", *TINY, "--results", str(tmp_path / "none")]
    assert main(asked) == 0
    assert "4 cells for cpu" in capsys.readouterr().out and not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--ranks", "2", "--shard", "ddp", "--phase", "train"], "torchrun starts it"),
        (["--pack", "0"], "--pack must be 1 or more"),
        (["--arch", "nobody"], "there is no 'nobody'"),
        ([], "say where, --on ray, slurm, local"),
    ],
)
def test_a_bad_submit_is_told_in_a_sentence(tmp_path, capsys, words, sentence):
    asked = ["--arch", "rnn", "--device", "cpu", "--results", str(tmp_path)]
    assert main(["submit", *asked, *words]) == 2
    assert sentence in capsys.readouterr().err


def test_timed_cells_are_dealt_first_and_alone():
    others = [replace(TRAINED, seed=seed) for seed in range(3)]
    hand = Hand([*others[:2], DECODE, others[2]], pack=2)
    assert hand.deal([]) == DECODE
    assert hand.deal([DECODE]) is None
    assert [hand.deal([]), hand.deal(others[:1]), hand.deal(others[:2])] == [*others[:2], None]
    assert hand.take_back(DECODE) and hand.deal(others[:1]) is None and hand.deal([]) == DECODE
    assert is_timed(replace(DECODE, phase="limits")) and not is_timed(TRAINED)


def test_a_cell_that_costs_every_seat_is_given_up():
    hand = Hand([DECODE], pack=1)
    for time_lost in range(1, LOST + 1):
        assert hand.deal([]) == DECODE
        assert hand.take_back(DECODE) == (time_lost < LOST)
    assert not hand


def test_a_folder_is_of_one_kind_of_hardware(tmp_path):
    record(DECODE).save(tmp_path)
    with pytest.raises(ValueError, match="has cells of cpu-2-core-a, and"):
        node.hold_to_one_kind(tmp_path / LABEL, "cpu-64-core-b")
    (tmp_path / "new").mkdir()
    node.hold_to_one_kind(tmp_path / "new", "cpu-64-core-b")
    node.hold_to_one_kind(tmp_path / "new", "cpu-64-core-b")
    with pytest.raises(ValueError, match="has cells of cpu-64-core-b, and"):
        node.hold_to_one_kind(tmp_path / "new", "cpu-2-core-a")


def test_a_folder_is_of_one_sweep_or_of_the_workers_of_a_submit(tmp_path):
    folder = tmp_path / LABEL
    workers = [Claim(folder, shared=True) for _ in range(2)]
    with pytest.raises(ValueError, match="another sweep is measuring"):
        Claim(folder)
    for claim in workers:
        claim.release()
    sweep = Claim(folder)
    with pytest.raises(ValueError, match="another sweep is measuring"):
        Claim(folder, shared=True)
    sweep.release()
    Claim(folder, shared=True).release()


def test_a_folder_of_labels_is_of_one_submit(tmp_path):
    asked = options(tmp_path)
    planned = plan.make(asked)
    with command.claimed(planned, asked):
        another = command.claimed(planned, asked)
        with pytest.raises(ValueError, match="another submit has"), another:
            pass
    with command.claimed(planned, asked):
        pass


@pytest.fixture
def job(tmp_path):
    asked = options(tmp_path / "results", "--label", LABEL, "--timeout", "60")
    with command.claimed(plan.make(asked), asked) as job:
        yield job


def test_a_seat_measures_what_has_no_record_and_a_crash_is_one(job):
    seat = Seat(dataclasses.replace(job, sources=("/nowhere",)))
    text = replace(TRAINED, phase="quality", task=None, load=None, corpus="x")
    try:
        assert seat.open() == LABEL
        first, again, crashed = seat.measure(TRAINED), seat.measure(TRAINED), seat.measure(text)
    finally:
        seat.close()
    assert (first.status, again.status, crashed.status) == ("ok", "had", "error")
    assert crashed.failed and "cannot read the corpus" in crashed.reason
    kept = {r.case: r for r in results.load([LABEL], job.root).records}
    assert kept[TRAINED].machine["node"] and kept[TRAINED].ceilings
    assert kept[text].status == "error" and first.took_s >= first.cell_s > 0
    seat.job = dataclasses.replace(job, since=kept[TRAINED].measured_at)
    assert seat._had(TRAINED) is None


def test_a_seat_refuses_a_label_of_other_hardware_and_a_folder_that_is_not_shared(job):
    record(DECODE).save(job.root)
    seat = Seat(job)
    try:
        with pytest.raises(ValueError, match="has cells of cpu-2-core-a, and"):
            seat.open()
    finally:
        seat.close()
    with pytest.raises(ValueError, match="a file system that all nodes share"):
        Seat(dataclasses.replace(job, token="of another")).open()
