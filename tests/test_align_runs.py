"""Alignment as a cell: its Record, a run that is killed and gone on with, chats of the user's."""

import json

import pytest
import torch
from msgspec.structs import replace

import archs
import results
from benchmarks import harness, sweep, tiers
from benchmarks.align import chat_files, chats, course, instructions, optimise, reward, scorers
from benchmarks.align.instructions import END
from benchmarks.cluster import plan
from benchmarks.data import wheels
from benchmarks.harness import TimedOut
from results import Case
from tests.test_harness import ENV
from tests.test_quality import text
from tests.test_tasks import Options

__all__ = ["text"]  # a fixture
CASE = Case(
    phase="align",
    arch="lstm",
    size="d8",
    seq_len=8,
    batch=16,
    tokens=8 * 16 * 30,
    lr=0.02,
    instructions="rules",
    pairs=128,
)


@pytest.fixture(autouse=True)
def small(monkeypatch, tmp_path):
    monkeypatch.setattr("benchmarks.align.rules.ANSWERS", 64)
    monkeypatch.setattr(chats, "ANSWERS", 64)
    monkeypatch.setattr(reward, "CHUNK", 128)
    for name, few in {"HELD_OUT": 32, "SPREAD_OVER": 64, "PROMPTS": 4, "SAMPLES": 8}.items():
        monkeypatch.setattr(scorers, name, few)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def told(record):
    """Without seconds and bytes, which differ from run to run."""

    def bare(one):
        return replace(one, spent=tuple(replace(s, step_s=(), peak_bytes=0) for s in one.spent))

    lessons = tuple(replace(lesson, train_s=0.0) for lesson in record.lessons)
    return lessons, record.scorers, record.best_of, tuple(map(bare, record.optimised))


def test_a_record_has_every_step(tmp_path):
    record = harness.measure(CASE, ENV)
    assert (record.status, record.reason) == ("ok", None)
    assert results.read(record.save(tmp_path)) == record
    assert [lesson.taught for lesson in record.lessons] == [
        "pretrained",
        "pretrained on",
        "fine-tuned",
    ]
    assert [len(lesson.train_nats) for lesson in record.lessons] == [30, 5, 5]
    assert all(len(lesson.answered.gold) == 64 for lesson in record.lessons)
    assert [(s.pairs, s.noise) for s in record.scorers] == [(32, 0.0), (128, 0.0), (32, 0.25)]
    assert all(0 < scorer.right <= scorer.asked == 32 for scorer in record.scorers)
    assert record.collected.pairs == 128 and record.collected.drawn >= 160
    assert {each.n for each in record.best_of} == {1, 2, 4, 8}
    for pairs, noise in ((32, 0.0), (128, 0.0), (32, 0.25)):
        ours = [b for b in record.best_of if (b.pairs, b.noise) == (pairs, noise)]
        proxies = [sum(b.proxy) for b in ours]
        assert proxies == sorted(proxies) and all(len(b.gold) == 4 for b in ours)
    assert [one.method for one in record.optimised] == ["dpo", "rloo", "rloo"]
    for one in record.optimised:
        assert one.reached[0].kl_nats == 0 and one.reached[-1].kl_nats > 0
        assert one.reached[-1].step == 10
        works = [spent.work for spent in one.spent]
        assert works == (["update"] if one.method == "dpo" else ["generate", "update"])
        assert all(len(s.step_s) == 10 and s.peak_bytes > 0 for s in one.spent)
    assert str(CASE) == "align-lstm-d8-T8-B16-float32-rules-p128-n3840-lr0.02-s0"
    assert record.params == harness.model_facts(CASE)["params"]


def test_a_killed_run_is_gone_on_with(tmp_path, monkeypatch):
    record = harness.measure(CASE, ENV)
    (tmp_path / ENV.label).mkdir()
    calls, learned = [], scorers.learned

    def dies(*given):
        calls.append(given)
        if len(calls) == 2:
            raise TimedOut("killed")
        return learned(*given)

    monkeypatch.setattr(scorers, "learned", dies)
    stopped = harness.measure(CASE, ENV, root=tmp_path)
    assert stopped.status == "timeout" and stopped.lessons == ()
    monkeypatch.setattr("benchmarks.align.lessons.pretrained", None)  # is not called again
    again = harness.measure(CASE, ENV, root=tmp_path)
    assert len(calls) == 4  # three reward models, one of them begun twice
    assert told(again) == told(record) and again.kernels == record.kernels


def test_what_goes_wrong_is_a_status():
    assert harness.measure(CASE, ENV, limit_s=0.0).status == "timeout"
    diverged = harness.measure(replace(CASE, lr=1e30), ENV)
    assert diverged.status == "diverged" and "not finite" in diverged.reason


def test_steps_and_seeds_of_a_course():
    one = course.Course(CASE, None, "cpu", lambda: None)
    assert one.pretraining_steps == 30 and one.steps("policy") == 10
    other = course.Course(replace(CASE, seed=1), None, "cpu", lambda: None)
    assert len({one.seed("a"), one.seed("b"), other.seed("a")}) == 3


DIALOGUES = {f"talk {i}": f"A: hello {i}\nB: oh, hi\nA: fine?\nB: yes: fine" for i in range(60)}


@pytest.fixture
def dialogues(monkeypatch):
    monkeypatch.setattr(wheels, "documents", lambda wheel: DIALOGUES)
    for known in (chats.load, chats.dialogues):
        known.cache_clear()
    yield
    for known in (chats.load, chats.dialogues):
        known.cache_clear()


def spelled(row):
    return bytes(row.tolist())


def test_a_dialogue_is_what_was_said_and_the_reply(dialogues, text):
    asked = chats.load("dialogues", 32, text)
    learned, held_out = asked.examples_of
    assert len(learned[0]) % 3 == 0 and len(held_out[0]) % 3 == 0
    first = [spelled(part[0]) for part in learned]
    assert first[0].lstrip(b"\n").startswith(b"A: hello ") and first[0].endswith(b"\nB: ")
    assert first[1] == b"oh, hi".ljust(16, bytes([END]))
    assert spelled(learned[0][2]) == b": hi\nA: fine?\nB: "[-16:]
    assert spelled(learned[1][2]) == b"yes: fine".ljust(16, bytes([END]))
    prompts, answers = asked.examples(5, torch.Generator().manual_seed(0))
    assert prompts.shape == answers.shape == (5, 16) and prompts.dtype == torch.int64
    whole = {spelled(row)[:9] for row in asked.held_out.prompts_BP}
    assert whole and asked.preferences is None and asked.gold is None


def test_dialogues_end_with_fine_tuning(dialogues, text):
    case = replace(CASE, instructions="dialogues", pairs=None, seq_len=32, corpus="slice")
    record = harness.measure(case, ENV, corpus=text)
    assert record.status == "ok" and record.scorers == () and record.optimised == ()
    assert record.corpus_sha256 == wheels.DIALOGUES.documents_sha256
    before, control, after = (lesson.answered for lesson in record.lessons)
    assert after.exact is None and after.gold == ()
    assert after.nats < min(before.nats, control.nats)
    assert before.answer_tokens == after.answer_tokens > 0
    assert "-dialogues-" in str(case) and "-slice-" in str(case)


def chat(question, answer):
    said = {"role": "user", "content": question}, {"role": "assistant", "content": answer}
    return {"messages": said}


def written(path, rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def test_chats_of_the_users_own_are_learned_and_preferred(tmp_path, text):
    asked = [chat(f"is {i} even", "yes" if i % 2 == 0 else "no") for i in range(150)]
    asked += [{"prompt": f"what is {i}", "completion": "a number"} for i in range(150)]
    liked = [{"prompt": f"is {i} odd", "chosen": "yes", "rejected": "maybe"} for i in range(150)]
    liked += [
        {
            "chosen": chat(f"{i}?", "yes")["messages"],
            "rejected": chat(f"{i}?", "maybe")["messages"],
        }
        for i in range(150)
    ]
    options = Options(
        phase=["align"],
        sft=[written(tmp_path / "mine.jsonl", asked)],
        preferences=[written(tmp_path / "liked.jsonl", liked)],
        arch=["lstm"],
    )
    (case,) = sweep.cases(options, "cpu", "slice")
    assert case.instructions.startswith("mine.") and case.pairs is None and case.corpus == "slice"
    short = {"size": "d8", "seq_len": 32, "batch": 8, "tokens": 32 * 8 * 30}
    record = harness.measure(replace(case, **short), ENV, corpus=text)
    assert record.status == "ok" and record.collected.drawn is None
    assert record.collected.pairs + record.collected.held_out < 300  # a part is neither
    assert record.scorers[-2].right > 0.8 * record.scorers[-2].asked
    assert all(each.gold == () for each in record.best_of)
    assert all(one.reached[-1].gold is None for one in record.optimised)
    (kept,) = {spelled(row) for row in chats.load(case.instructions, 32, text).preferences[1][1]}
    assert kept == b"yes".ljust(16, bytes([END]))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "line 2, is not of the shape"),
        ('{"prompt": "a"}', "line 2, is not of the shape"),
        ('{"messages": [{"role": "user"}]}', "line 2, is not of the shape"),
        ('{"messages": "hello"}', "line 2, is not of the shape"),
        ('{"prompt": "a", "completion": "b\\u0000"}', "NUL character"),
    ],
)
def test_a_file_of_another_shape_is_refused_by_its_line(tmp_path, line, complaint):
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(chat("a", "b")) + "\n" + line)
    with pytest.raises(ValueError, match=complaint):
        chat_files.named((str(path),), ())


def test_few_chats_and_missing_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="answers of 1 lines: too few"):
        chat_files.named((written(tmp_path / "few.jsonl", [chat("a", "b")]),), ())
    with pytest.raises(ValueError, match="--sft: cannot read"):
        chat_files.named((str(tmp_path / "none.jsonl"),), ())
    with pytest.raises(ValueError, match="not at hand"):
        chat_files.kept("other.12345678")
    with pytest.raises(ValueError, match="holds no answer"):
        chat_files.named((written(tmp_path / "mute.jsonl", [{"messages": []}]),), ())


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"phase": ["align"], "preferences": ["x"]}, "give --sft FILE too"),
        ({"phase": ["quality"], "sft": ["dialogues"]}, "are of --phase align"),
        ({"phase": ["align"], "tokenizer": "bpe:512"}, "reads bytes, not bpe:512"),
        ({"phase": ["align"], "sft": ["/nowhere"]}, "--sft: cannot read /nowhere"),
        ({"phase": ["align"], "seq_len": [9]}, "--seq-len 9: rules need an even number"),
    ],
)
def test_what_cannot_be_asked_is_refused(given, complaint):
    with pytest.raises(ValueError, match=complaint):
        sweep.check(Options(**given))


def test_every_tier_asks_by_name(monkeypatch):
    for tier in tiers.names():
        asks = [ask for ask in tiers.load(tier) if ask.phase == "align"]
        assert [ask.instructions for ask in asks] == ["rules", "chats"]
        assert all(ask.by_name and len(ask.archs or archs.usual()) >= 3 for ask in asks)
    (asked,) = sweep.cases(Options(phase=["align"], arch=["lstm"]), "cpu", "sotu")
    assert asked.instructions == "rules" and asked.corpus is None and asked.pairs == 8192
    monkeypatch.setattr(chats, "dialogues", dict)
    given = {"phase": ["align"], "arch": ["lstm"], "sft": ["dialogues"]}
    (asked,) = sweep.cases(Options(**given), "cpu", "sotu")
    assert (asked.instructions, asked.corpus, asked.pairs) == ("dialogues", "sotu", None)


def test_chats_of_ones_own_are_not_sent_to_a_cluster(tmp_path):
    rows = [chat(f"{i}", "yes") for i in range(150)]
    options = Options(phase=["align"], sft=[written(tmp_path / "mine.jsonl", rows)])
    with pytest.raises(ValueError, match="kept on this machine"):
        plan.make(options)


def test_reward_models_of_a_few_preferences():
    assert scorers.asked(8192) == [
        (512, 0.0),
        (2048, 0.0),
        (8192, 0.0),
        (2048, scorers.NOISE),
    ]
    assert scorers.asked(40) == [(40, 0.0), (16, scorers.NOISE)]
    assert instructions.END == 0 and len(optimise.AIMS) == 3
