"""Several processes compute what one does; one that goes wrong ends them all, and is told."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from msgspec.structs import replace

import archs
import results
from benchmarks import __main__ as command
from benchmarks import corpus, harness, outside, sweep
from benchmarks.data.vocabulary import of_bytes
from benchmarks.lanes import Lanes
from benchmarks.machine import Environment
from benchmarks.process import Child, Ended
from benchmarks.ranks import asked, context, launch
from report import roofline
from report.choice import setting_of
from results import Case

ROOT = Path(__file__).parents[1]
ENV = Environment(device="cpu", label="none", machine={}, versions={}, commit=None)
TRAIN = Case(phase="train", arch="gru", size="100k", seq_len=16, batch=4)
QUALITY = replace(TRAIN, phase="quality", arch="mamba2", seq_len=32, tokens=8 * 128, lr=0.01)
# losses to 1e-5 in float32 is the promise; in float64 nothing but the order of sums is different
NATS, WEIGHTS = 1e-12, 1e-10

pytestmark = pytest.mark.skipif(launch.available("cpu") < 2, reason="two ranks need two cores")


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """By what was trained: how far the losses and the weights of one and of two processes are."""
    folder = str(tmp_path_factory.mktemp("ranks"))
    pair = [
        Child("tests.rank_checks", folder, RANK=str(rank), OMP_NUM_THREADS="1") for rank in (0, 1)
    ]
    try:
        return pair[0].ask({}, 240)
    finally:
        for child in pair:
            child.close()


@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
@pytest.mark.parametrize("arch", archs.usual())
def test_two_ranks_train_what_one_process_does(apart, arch, shard):
    seen = apart[f"{arch} {shard}"]
    assert seen["nats"] < NATS and seen["weights"] < WEIGHTS


def test_ranks_can_share_sequences_where_attention_alone_carries_the_past(apart):
    """Rotary and learned places among them; torch's CUDA kernels stood in for."""
    shared = {name.removesuffix(" context") for name in apart if name.endswith(" context")}
    assert shared == {"gpt2", "llama"}
    for arch in shared:
        assert apart[f"{arch} context"]["nats"] < NATS
        assert apart[f"{arch} context"]["weights"] < WEIGHTS


@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
def test_a_stream_is_one_stream_however_many_read_it(apart, shard):
    seen = apart[f"{shard} stream"]
    assert seen["nats"] < NATS and seen["weights"] < WEIGHTS


@pytest.mark.parametrize("shard", ["ddp", "fsdp"])
def test_ranks_go_on_from_a_checkpoint_with_the_same_bits(apart, shard):
    assert apart[f"{shard} resumed"] == {"nats": 0.0, "weights": 0.0}


def test_what_carries_the_past_beside_attention_cannot_be_cut():
    assert not context.can_be_cut("hybrid")
    assert not context.can_be_cut("llama", short_conv=True)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "mine.txt"
    path.write_bytes(bytes(range(256)) * 60)
    return corpus.load([str(path)])


def test_the_record_of_a_training_on_two_ranks(tmp_path, text):
    case = replace(QUALITY, corpus=text.name)
    one = harness.measure(case, ENV, corpus=text)
    two = harness.measure(replace(case, ranks=2, shard="ddp"), ENV, corpus=text, root=tmp_path)
    assert (one.backend, two.backend) == (None, "gloo")
    assert two.status == "ok" and two.case.ranks == 2 and "-float32-ddp2-" in str(two.case)
    assert two.params == one.params and two.param_bytes == one.param_bytes
    assert two.kernels == one.kernels and two.corpus_sha256 == one.corpus_sha256
    assert two.train_nats == pytest.approx(one.train_nats, abs=1e-5)
    for seen, alone in zip(two.evaluations, one.evaluations, strict=True):
        assert seen.nats == pytest.approx(alone.nats, rel=1e-4) and seen.tokens == alone.tokens
    assert two.took_s > two.train_s >= two.train_step_s > 0
    assert not list(tmp_path.rglob("*.checkpoint"))


def test_the_record_of_steps_timed_on_two_ranks():
    """The rank that needs most holds half of the weights, gradients and moments, and buffers."""
    case = replace(TRAIN, size="800k", seq_len=4, batch=2)
    one = harness.measure(case, ENV)
    two = harness.measure(replace(case, ranks=2, shard="fsdp"), ENV)
    assert two.status == "ok" and two.backend == "gloo" and len(two.step_s) >= 5
    assert len(two.sentinel_s) == len(one.sentinel_s) and two.sensors == ()
    assert (two.params, two.moved_bytes) == (one.params, one.moved_bytes)
    assert 1.5 * two.param_bytes < two.peak_bytes < one.peak_bytes


def test_a_disturbed_cell_is_visited_again_by_all_ranks(monkeypatch):
    case = replace(TRAIN, ranks=2, shard="ddp")
    first = harness.record(case, ENV, status="ok", step_s=(2.0,), sentinel_s=(2.0, 2.0))
    again = replace(first, step_s=(1.0,), sentinel_s=(1.0, 1.0))
    monkeypatch.setattr(launch, "measure", lambda asked_again, *_: {case: again}[asked_again])
    kept = harness.revisit(first, ENV, 60.0, harness.Ledger())
    assert kept.step_s == (1.0,) and kept.set_aside[0].step_s == (2.0,)
    ended = replace(again, status="timeout", sentinel_s=())
    monkeypatch.setattr(launch, "measure", lambda *_: ended)
    assert harness.revisit(first, ENV, 60.0, harness.Ledger()) == first


GOES_WRONG = """
import os, signal, time
from pathlib import Path
import torch
from archs import gru
from archs.gru import SIZES, State

class Block(gru.Block):
    def forward(self, x_BTD, state):
        if os.environ.get("RANK") == "1":
            WAY
        return super().forward(x_BTD, state)
"""


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.fixture
def goes_wrong(tmp_path, monkeypatch):
    """The case of an architecture whose second rank does this."""

    def make(way):
        monkeypatch.setenv(outside.VARIABLE, os.environ.get(outside.VARIABLE, "{}"))
        path = tmp_path / "wrong.py"
        path.write_text(GOES_WRONG.replace("WAY", way))
        return replace(TRAIN, arch=outside.named(str(path)), ranks=2, shard="ddp")

    return make


@pytest.mark.parametrize(
    ("way", "reason"),
    [
        ("raise ZeroDivisionError('a bug')", "rank 1 of 2 ranks: ZeroDivisionError: a bug"),
        ("os.kill(os.getpid(), 9)", "rank 1 of 2 ranks: its process ended by SIGKILL (Killed)"),
    ],
)
def test_a_rank_that_dies_ends_the_case_with_its_own_reason(goes_wrong, capfd, way, reason):
    with pytest.raises(Ended) as ended:
        harness.measure(goes_wrong(way), ENV)
    assert ended.value.status == "error" and str(ended.value) == reason
    said = capfd.readouterr().err
    assert ("in forward" in said) == ("raise" in way) and "closed by peer" not in said


def test_a_rank_out_of_memory_is_an_answer(goes_wrong):
    way = "raise torch.OutOfMemoryError('tried to allocate the moon')"
    record = harness.measure(goes_wrong(way), ENV)
    assert (record.status, record.reason) == ("oom", "tried to allocate the moon")
    assert record.case.ranks == 2 and record.step_s == () and record.params is not None


def test_a_rank_that_hangs_is_ended_with_all_others(goes_wrong, monkeypatch, tmp_path):
    monkeypatch.setattr(launch, "LEAST_GRACE_S", 1.0)
    started = []
    start = launch._start

    def noted(*arguments):
        started.append(start(*arguments))
        return started[-1]

    monkeypatch.setattr(launch, "_start", noted)
    record = harness.measure(goes_wrong("time.sleep(600)"), ENV, limit_s=6.0)
    assert record.status == "timeout"
    assert record.reason == "2 ranks: no answer after 7 s: its process was ended"
    assert len(started) == 2 and all(gone(child.process.pid) for child in started)


def jsonl(path):
    rows = [{"text": f"{i} is the number of this, {i * i} its square. " * 5} for i in range(400)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def stream(tmp_path):
    pytest.importorskip("datasets")
    return f"stream:{jsonl(tmp_path / 'mine.jsonl')}"


def test_torchrun_measures_the_same_from_a_job(tmp_path, stream, capsys):
    """The job as `list --jobs` writes it; the stream as one process reads it."""
    words = ["--phase", "quality", "--arch", "gru", "--size", "100k", "--batch", "4"]
    words += ["--seq-len", "32", "--tokens", "1024", "--device", "cpu", "--label", "here"]
    words += ["--corpus", stream, "--results", str(tmp_path / "results")]
    words += ["--ranks", "2", "--shard", "fsdp", "--jobs", str(tmp_path / "jobs")]
    assert command.main(["list", *words]) == 0
    (job,) = (tmp_path / "jobs").iterdir()
    assert f"todo {job.stem}" in capsys.readouterr().out
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run(
        [sys.executable, "-m", *torchrun, "-m", "benchmarks.ranks", job, tmp_path / "results"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (two,) = results.load(["here"], tmp_path / "results").records
    assert two.status == "ok" and str(two.case) == job.stem
    case = replace(two.case, ranks=1, shard=None)
    one = harness.measure(case, ENV, corpus=corpus.load([stream]))
    assert two.train_nats == pytest.approx(one.train_nats, abs=1e-5)
    assert two.corpus_sha256 == one.corpus_sha256


def brute_force(texts, lane, batch, count):
    """Every `count` tokens of a lane, and the one after, by joining its documents."""
    joined = b"".join(text for i, text in enumerate(texts * 99) if i % batch == lane)
    return [list(joined[at : at + count + 1]) for at in range(0, 40 * count, count)]


@pytest.mark.parametrize("count", [1, 7, 64])
def test_lanes_take_documents_in_turn(count):
    random = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 90, (11,), generator=random).tolist()
    texts = [bytes(torch.randint(256, (n,), generator=random).tolist()) for n in lengths]
    every, some = (Lanes(lambda: iter(texts), of_bytes, mine, 4) for mine in (range(4), (2, 3)))
    taken = torch.stack([every.take(count) for _ in range(40)])
    assert taken.dtype == torch.int64
    for lane in range(4):
        assert taken[:, lane].tolist() == brute_force(texts, lane, 4, count)
    assert torch.equal(torch.stack([some.take(count) for _ in range(40)]), taken[:, 2:])
    again = Lanes(lambda: iter(texts), of_bytes, (2, 3), 4)
    again.go_to(every.places()[2:])
    assert torch.equal(again.take(count), some.take(count))


def test_only_a_readers_own_lanes_are_tokenized():
    encoded = []

    def encode(text):
        encoded.append(text[0])
        return of_bytes(text)

    texts = [bytes([i]) * 20 for i in range(64)]
    lanes = Lanes(lambda: iter(texts), encode, (1, 3), 4)
    for _ in range(3):
        lanes.take(20)
    assert {number % 4 for number in encoded} == {1, 3}
    encoded.clear()
    later = Lanes(lambda: iter(texts), encode, (1, 3), 4)
    later.go_to(lanes.places())
    later.take(5)
    assert min(encoded) == lanes.places()[:, 0].min() > 4


def test_a_stream_holds_out_by_the_rule_of_all_documents(tmp_path, stream):
    lines = (tmp_path / "mine.jsonl").read_text().splitlines()
    rows = [json.loads(line)["text"].strip() for line in lines]
    parts = {"train": [], "valid": [], "test": []}
    for number, text in enumerate(rows):
        parts[corpus.part_of(str(number))].append(text.encode())
    mine = corpus.load([stream])
    for part, texts in parts.items():
        assert bytes(getattr(mine, part).numpy()) == b"\n\n".join(texts)
    assert list(mine.stream()) == [text + b"\n\n" for text in parts["train"]]
    assert mine.sources == (stream,) and mine.name == f"stream.mine.jsonl.{mine.sha256[:8]}"


def test_a_stream_is_read_further_than_what_was_read_beforehand(stream, monkeypatch):
    monkeypatch.setattr(corpus.hub, "BYTES", 40_000)
    monkeypatch.setattr(corpus, "MIN_BYTES", 256)
    mine = corpus.load([stream])
    assert len(mine.train) + len(mine.valid) + len(mine.test) < 41_000
    assert sum(map(len, mine.stream())) > 2 * len(mine.train)


@pytest.mark.parametrize("kind", ["paragraphs.txt", "folder"])
def test_streams_of_plain_text_and_of_folders(tmp_path, kind):
    pytest.importorskip("datasets")
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
        jsonl(path / "a.jsonl")
    else:
        path.write_text("\n\n".join(f"The {i}th of them\nis no line. " * 9 for i in range(400)))
    first = next(corpus.load([f"stream:{path}"]).stream())
    assert first.endswith(b"\n\n") and first.strip() and b"\n\n" not in first.strip()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("mine.xyz", "text", "a file must be of .txt, .jsonl, .json, .parquet"),
        ("mine.jsonl", '{"story": "once"}', "no column 'text' but story"),
        ("mine.jsonl", '{"text": 3}', "column 'text' holds int, not text"),
        ("mine.jsonl", '{"text": "torn', "could not be read"),
        ("mine.jsonl", '{"text": "once"}', "holds 1 rows: too little to split"),
    ],
)
def test_a_stream_that_is_none_is_told_in_a_sentence(tmp_path, name, content, sentence):
    pytest.importorskip("datasets")
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=sentence) as told:
        corpus.load([f"stream:{tmp_path / name}"])
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--ranks 2", "--ranks N and --shard belong together"),
        ("--shard ddp", "--ranks N and --shard belong together"),
        ("--ranks 1 --shard ddp", "--ranks must be 2 or more, not 1"),
        ("--ranks 99 --shard ddp --batch 99", "each needs a core of its own, and there are"),
        ("--ranks 2 --shard ddp --phase decode", "decode runs in one process"),
        ("--ranks 2 --shard ddp --phase compress", "compress runs in one process"),
        ("--ranks 2 --shard ddp --task mqar", "recall runs in one process"),
        ("--ranks 2 --shard ddp --mode compile", "run eagerly, not --mode compile"),
        ("--ranks 2 --shard fsdp --batch 3", "--batch 3 of train-.* does not divide by 2"),
        ("--ranks 2 --shard context --arch gru", "in gru more than attention carries the past"),
        ("--ranks 2 --shard context --arch llama --kernel sdpa", "use --kernel auto"),
        ("--ranks 2 --shard context --arch llama", "has attention for CUDA, .* device is cpu"),
        ("--phase compress --corpus stream:x", "needs a text that is read whole"),
        ("--jobs JOBS", "--jobs is for cells of several processes"),
    ],
)
def test_what_ranks_cannot_do_is_refused_in_a_sentence(tmp_path, capsys, words, sentence):
    words = words.replace("JOBS", str(tmp_path)).split()
    assert command.main(["list", "--device", "cpu", *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    assert re.search(sentence, told)


def test_shared_sequences_divide_into_two_pieces_a_rank():
    options = SimpleNamespace(ranks=2, shard="context")
    assert asked.spread(replace(TRAIN, seq_len=12), options).shard == "context"
    with pytest.raises(ValueError, match=r"--seq-len 14 of train-.* does not divide by 4"):
        asked.spread(replace(TRAIN, seq_len=14), options)


def test_ranks_are_asked_of_training_alone():
    options = {flag.lstrip("-").replace("-", "_"): given for flag, given in sweep.OPTIONS}
    options = {name: given.get("default") for name, given in options.items()}
    options |= {"ranks": 2, "shard": "fsdp", "batch": 4, "results": "nowhere", "arch": ["gru"]}
    cases = sweep.cases(SimpleNamespace(**options), "cpu", "sotu")
    assert {case.phase for case in cases} == {"train", "quality"}
    assert all((case.ranks, case.shard) == (2, "fsdp") for case in cases)


def test_cells_of_several_ranks_are_a_setting_of_their_own():
    """… and the names of those of one process are what they were."""
    shared = replace(TRAIN, ranks=2, shard="fsdp")
    assert str(TRAIN) == "train-gru-100k-T16-B4-float32-s0"
    assert str(shared) == "train-gru-100k-T16-B4-float32-fsdp2-s0"
    assert setting_of(TRAIN).ranks == "" and setting_of(shared).ranks == "2 ranks, fsdp"


def test_several_ranks_have_as_many_ceilings():
    ceilings = {"matmul-float32": {"work": 10, "samples_s": [1.0]}}
    one = harness.record(
        TRAIN, dataclasses.replace(ENV, ceilings=ceilings), status="ok", forward_flops=7
    )
    two = replace(one, case=replace(TRAIN, ranks=2, shard="ddp"))
    assert roofline.arithmetic_s(one) == 2 * roofline.arithmetic_s(two) > 0
