"""The pairs: taken in turn, equal first, whole or not at all; and the ratios made of them."""

import io
from contextlib import closing
from itertools import count

import pandas as pd
import pytest
from msgspec.structs import replace
from rich.console import Console

import report.__main__
import results
from archs import gru
from benchmarks.__main__ import main
from benchmarks.machine import Environment
from benchmarks.peers import _command, _pair, find
from benchmarks.peers._pair import OURS, SIZE_NAME, agree, alternate, cases
from benchmarks.peers._peer import Missing, Peer, copy
from benchmarks.peers._process import Failed, OutOfMemory, Sample, Worker
from benchmarks.peers.torch_recurrent import PEERS
from report import peers as told
from report.terminal import peers_table
from tests.report_records import machine, record

GRU = next(peer for peer in PEERS if peer.module is gru)


def side(name, log, seconds, seen=(1.0, 2.0)):
    """Answers at once, says it took `seconds`, and writes its name down."""

    def ask():
        log.append(name)
        return Sample(next(seconds), 3.0, list(seen))

    return ask


def steady(seconds):
    return (seconds for _ in count())


def test_the_sides_take_turns():
    log = []
    rounds = alternate([side(name, log, steady(0.2)) for name in "AB"], 3, 30, limit_s=60)
    assert "".join(log) == "AB" * (len(log) // 2)
    assert len(rounds) == 15  # three seconds of samples
    assert len(log) // 2 - len(rounds) == 3  # half a second of warm-up


@pytest.mark.parametrize(
    ("ours_s", "theirs_s", "rounds"),
    [(1e-4, 1e-3, 30), (0.4, 0.4, 7), (0.1, 19.0, 3), (0.1, 31.0, 2), (0.1, 61.0, 1)],
    ids=["at most 30", "by the budget", "at least 3", "by the limit", "one is enough"],
)
def test_how_many_samples(ours_s, theirs_s, rounds):
    log = []
    sides = [side("A", log, steady(ours_s)), side("B", log, steady(theirs_s))]
    assert len(alternate(sides, 3, 30, limit_s=60)) == rounds
    # the first step of a very slow side is its sample
    assert len(log) == 2 if rounds == 1 else len(log) > 2 * rounds


@pytest.mark.parametrize("wrong", [[1.0, 2.01], [1.0, -2.0], [1.0, float("nan")]])
def test_what_is_not_equal_is_refused(wrong):
    log = []
    sides = [side("A", log, steady(0.2)), side("B", log, steady(0.2), seen=wrong)]
    with pytest.raises(Failed, match="do not compute the same"):
        alternate(sides, 3, 30, limit_s=60)
    with pytest.raises(Failed, match=r"losses 3\.000000, 3\.010000"):
        agree(Sample(1, 3.0, [1.0]), Sample(1, 3.01, [1.0]))
    agree(Sample(1, 3.0, [1.0, 0.0]), Sample(1, 3.001, [1.0005, 1e-4]))


def test_weights_are_never_broadcast():
    weight = gru.Block(gru.SIZES["100k"], 0).mixer.weight_hh
    with pytest.raises(ValueError, match=r"\(192, 64\) does not fit into \(192, 1\)"):
        copy([(weight[:, :1], weight)])


def test_a_worker_that_dies_is_quoted(capsys):
    said = "a side's process ended: KeyError: 'phase'"
    with closing(Worker({"arch": "gru"})) as worker, pytest.raises(Failed, match=said):
        worker.ask(what="step")
    assert "Traceback" in capsys.readouterr().err


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One pair of each phase, as typed; its folder."""
    folder = tmp_path_factory.mktemp("peers")
    assert main(asked(folder)) == 0
    return folder


def asked(folder, *more):
    where = ["--results", str(folder), "--label", "box", "--seq-len", "16", "--mode", "eager"]
    return ["peers", "--arch", "gru", "--impl", "torch.nn", *where, *more]


def test_a_pair_is_two_records(measured):
    loaded = results.load(root=measured)
    assert not loaded.unreadable and len(loaded.records) == 4
    by_case = {record.case: record for record in loaded.records}
    for phase, most in (("peer-train", 30), ("peer-decode", 100)):
        ours, theirs = (by_case[case] for case in cases(GRU, phase=phase, seq_len=16))
        assert 3 <= len(ours.step_s) == len(theirs.step_s) <= most
        assert ours.step_clock == theirs.step_clock == "process cpu"
        assert ours.train_nats == pytest.approx(theirs.train_nats, rel=1e-6)
        assert ours.params == theirs.params and ours.peak_bytes > 0 < theirs.peak_bytes
        assert "gru" in ours.kernels and not theirs.kernels


def test_a_whole_pair_is_not_measured_again_and_a_half_is(measured, capsys, monkeypatch):
    calls = []

    def kept(peer, pair, env, limit_s):
        calls.append(pair[1].phase)
        return tuple(
            replace(record(case.phase, label="box"), case=case, reason="again") for case in pair
        )

    monkeypatch.setattr(_command, "measure", kept)
    assert main(asked(measured)) == 0 and calls == []
    assert capsys.readouterr().out.count("  had  ") == 2

    half, other = cases(GRU, phase="peer-train", seq_len=16)
    results.schema.record_path(half, "box", measured).unlink()
    assert main(asked(measured)) == 0 and calls == ["peer-train"]
    assert results.read(results.schema.record_path(other, "box", measured)).reason == "again"
    assert main(asked(measured, "--fresh", "--phase", "peer-decode")) == 0
    assert calls == ["peer-train", "peer-decode"]


def absent():
    return Peer(
        module=gru,
        impl="absent",
        distribution="no-such-package",
        ours=GRU.ours,
        theirs=GRU.theirs,
    )


def test_a_missing_package_costs_only_itself(tmp_path, capsys, monkeypatch):
    with pytest.raises(Missing, match="no-such-package is not installed; pip install"):
        absent().version()
    monkeypatch.setattr(_command.peers, "find", lambda: [absent(), GRU])
    monkeypatch.setattr(_pair, "BUDGET_S", 0.0)
    where = ["--results", str(tmp_path), "--label", "box", "--seq-len", "16"]
    assert main(["peers", *where, "--phase", "peer-train"]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert "not measured: no-such-package is not installed; pip install" in first
    assert "torch.nn-s0  ok" in second and len(list(tmp_path.rglob("*.json"))) == 2


def test_bad_requests_get_one_sentence(capsys):
    for words, complaint in (
        (["--arch", "mambo"], "--arch: no peer has 'mambo'; there are "),
        (["--impl", "jax"], "--impl: no peer has 'jax'; there are"),
        (["--phase", "train"], "there are peer-train, peer-decode"),
        (["--seq-len", "0"], "--seq-len must be above 0"),
        (["--mode", "graph"], "--mode: no peer has 'graph'; there are eager"),
    ):
        assert main(["peers", *words]) == 2
        said = capsys.readouterr().err
        assert complaint in said and said.count("\n") == 1


def test_ours_may_be_several_sides_and_theirs_is_the_last():
    sides = cases(GRU, ("eager", "compile"), phase="peer-decode", seq_len=16)
    assert [side.mode for side in sides] == ["eager", "compile", "eager"]
    assert [side.impl for side in sides] == [OURS + "torch.nn"] * 2 + ["torch.nn"]
    assert len({str(side) for side in sides}) == 3
    assert len(cases(GRU, ("eager", "compile"), phase="peer-train", seq_len=16)) == 2


class Scripted:
    """A worker that answers what it is told to, and runs out of memory at its `fits`-th step."""

    def __init__(self, job, fits):
        self.job, self.left = job, fits

    def sample(self):
        if self.left == 0:
            raise OutOfMemory(self, "can't allocate memory: 1 TB")
        self.left -= 1
        return Sample(1.0, 3.0, [1.0])

    def ask(self, what, with_peak):
        return {"params": 1, "param_bytes": 4}

    def close(self):
        pass


@pytest.mark.parametrize("fits", [0, 2])
def test_theirs_out_of_memory_is_an_answer_and_ours_is_a_bug(monkeypatch, fits):
    env = Environment(device="cpu", label="box", machine={}, versions={}, commit=None)
    sides = cases(GRU, phase="peer-train", seq_len=16)
    monkeypatch.setattr(_pair, "Worker", lambda job: Scripted(job, 99 if job["ours"] else fits))
    ours, theirs = _pair.measure(GRU, sides, env, limit_s=60)
    assert (ours.status, theirs.status, theirs.step_s) == ("ok", "oom", ())
    assert len(ours.step_s) == 3 and theirs.reason == "can't allocate memory: 1 TB"
    (shown,) = told.text(told.ratios([ours, theirs])).to_dict("records")
    assert shown["times ours"] == "theirs: out of memory" and shown["theirs"] == "–"

    monkeypatch.setattr(_pair, "Worker", lambda job: Scripted(job, fits if job["ours"] else 99))
    with pytest.raises(Failed, match="can't allocate memory"):
        _pair.measure(GRU, sides, env, limit_s=60)


def test_every_peer_has_a_name_of_its_own():
    names = [(peer.arch, peer.impl) for peer in find()]
    assert len(set(names)) == len(names) >= 10


def pair(phase="peer-train", impl="torch.nn", **given):
    """Ours takes 2, 2 and 1 s, theirs 4, 6 and 8."""
    shared = {"size": SIZE_NAME, "seq_len": 2048, "train_nats": (5.0,), **given}
    theirs = {"torch": "2.13.0", "python": "3.11"} | given.pop("used", {})
    shared.pop("used", None)
    return [
        record(phase, impl=OURS + impl, step_s=(2.0, 2.0, 1.0), peak_bytes=10, **shared),
        record(phase, impl=impl, step_s=(4.0, 6.0, 8.0), peak_bytes=45, versions=theirs, **shared),
    ]


def test_ratios_are_the_arithmetic_they_claim():
    assert told.OURS == OURS
    (row,) = told.ratios(pair(used={"mambapy": "1.2.0"})).to_dict("records")
    assert row["ratio"] == 6 / 2 and row["samples"] == 3
    # of the paired ratios 2, 3 and 8
    assert (row["low"], row["high"]) == (2.5, 5.5)
    assert row["memory_ratio"] == 4.5 and row["loss_difference"] == 0
    assert (row["peer"], row["version"], row["phase"]) == ("torch.nn", "1.2.0", "train")
    (shown,) = told.text(told.ratios(pair())).to_dict("records")
    assert shown["against"] == "torch.nn 2.13.0" and shown["phase, length"] == "train 2k"
    assert shown["arch"] == "gru"
    assert shown["times ours"] == "3× (2.5–5.5)" and shown["memory, times ours"] == "4.5×"


def test_each_of_our_modes_is_a_row_beside_the_same_theirs():
    eager, theirs = pair("peer-decode")
    fast = replace(eager, case=replace(eager.case, mode="compile"), step_s=(1.0, 1.0, 1.0))
    shown = told.text(told.ratios([eager, fast, theirs])).to_dict("records")
    assert [row["phase, length"] for row in shown] == ["decode 2k, compile", "decode 2k"]
    assert [row["times ours"] for row in shown] == ["6× (5–7)", "3× (2.5–5.5)"]


def test_one_sample_has_no_spread_and_one_side_no_row():
    once = [replace(side, step_s=side.step_s[:1], peak_bytes=None) for side in pair()]
    (shown,) = told.text(told.ratios(once)).to_dict("records")
    assert shown["times ours"] == "2×" and shown["memory, times ours"] == "–"
    assert told.ratios(pair()[:1]).empty and told.ratios(pair()[1:]).empty


def test_the_table_fits_into_a_terminal():
    long = pair("peer-decode", "transformers-chunk64", used={"transformers": "15.17.10"})
    long[0] = replace(long[0], case=replace(long[0].case, mode="compile"))
    page = io.StringIO()
    Console(file=page, width=80).print(peers_table(told.ratios([*long, *pair()])))
    assert "…" not in page.getvalue() and "transformers-chunk64" in page.getvalue()


def test_the_report_shows_pairs_and_is_otherwise_the_same(tmp_path, capsys):
    sweep = machine(["gru", "gpt2"])
    outs = {}
    for name, records in (("without", sweep), ("with", [*sweep, *pair(), *pair("peer-decode")])):
        for each in records:
            each.save(tmp_path / name)
        outs[name] = tmp_path / f"out-{name}"
        where = ["--results", str(tmp_path / name), "--out", str(outs[name])]
        assert report.__main__.main(["build", *where]) == 0
    assert told.TITLE in capsys.readouterr().out
    for path in outs["without"].iterdir():
        if path.suffix in (".csv", ".svg"):
            assert path.read_bytes() == (outs["with"] / path.name).read_bytes(), path.name
    page, table = ((outs["with"] / name).read_text() for name in ("index.html", "table.md"))
    for text in (page, table):
        assert text.count(told.TITLE) == 1 + (text is page) and "3× (2.5–5.5)" in text
    # its name stands only where a hover says which file a number is from: packed, not in words
    assert SIZE_NAME not in page and 'data-file="peers.csv"' in page
    assert len(pd.read_csv(outs["with"] / "peers.csv")) == 2
    without = (outs["without"] / "index.html").read_text()
    assert told.TITLE not in without and "peers.csv" not in without


def test_pairs_alone_are_a_report_too(tmp_path, capsys):
    for each in pair():
        each.save(tmp_path / "results")
    where = ["--results", str(tmp_path / "results")]
    assert report.__main__.main(["build", *where, "--out", str(tmp_path / "out")]) == 0
    assert "3× (2.5–5.5)" in (tmp_path / "out" / "index.html").read_text()
    capsys.readouterr()
    assert report.__main__.main(["peers", *where, "--markdown"]) == 0
    assert capsys.readouterr().out.splitlines()[2].startswith("| gru | torch.nn 2.13.0 | train 2k")
    assert report.__main__.main(["peers", *where]) == 0
    assert report.__main__.main(["peers", "--results", str(tmp_path / "out")]) == 1
    assert "no pair in" in capsys.readouterr().err
