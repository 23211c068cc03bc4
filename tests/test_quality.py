"""Training and held-out loss, against a computation that shares no code with them."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

import archs
import results
from benchmarks import corpus, harness, quality, training
from benchmarks.corpus import Corpus, Domain
from benchmarks.data.vocabulary import Tokenizer, of_bytes
from benchmarks.perplexity import Reader, held_out
from report import losses
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


def one_by_one(model, text, places):
    """Nats of each target, from the probabilities of a model called anew for it, in float64.

    `places` has, for the target at each place, where what is read before it begins.
    """
    nats = {}
    for place, start in places.items():
        with torch.no_grad():
            x_BTD, _ = model(text[None, start:place].long())
        probabilities = F.softmax(x_BTD[0, -1] @ model.embed.weight.detach().t(), dim=-1)
        nats[place] = -math.log(probabilities[int(text[place])])
    return nats


@pytest.mark.parametrize("context", [8, 7])
def test_held_out_loss_is_the_mean_log_probability_of_each_token(text, context):
    torch.manual_seed(0)
    model = archs.build("lstm", "100k").double()
    reader = Reader(model, case(), corpus.BYTES.token_bytes, "cpu")
    even = reader.losses(text.test, context, 8 * context)
    seen, sliding = even.told("test", context), reader.sliding(even, text.test, 8 * context)

    places = {p: (p - 1) // context * context for p in range(1, 8 * context + 1)}
    nats = one_by_one(model, text.test, places)
    assert seen.position_edges == (1, 2, 4) and seen.stride is None
    assert seen.tokens == (8, 16, 8 * (context - 3)) and seen.target_bytes == 8 * context
    bins = [0.0, 0.0, 0.0]
    for place, start in places.items():
        bins[min(2, (place - start).bit_length() - 1)] += nats[place]
    assert seen.nats == pytest.approx(bins, rel=1e-9)

    # the first window, of those that begin at every other half of the context, that reaches there
    begins = sorted([*range(0, 8 * context, context), *range(context // 2, 7 * context, context)])
    places = {}
    for place in range(context // 2 + 1, 8 * context + 1):
        places[place] = next(start for start in begins if start + context >= place)
        assert place - places[place] > context - sliding.stride or places[place] == 0
    nats = one_by_one(model, text.test, places)
    assert sliding.stride == (context + 1) // 2 and sliding.context == context
    assert sum(sliding.tokens) == sliding.target_bytes == len(places)
    assert sum(sliding.nats) == pytest.approx(sum(nats.values()), rel=1e-9)


class Unigram:
    """Knows how frequent each byte is, and nothing else."""

    config = SimpleNamespace(max_len=None)

    def __init__(self, frequencies):
        self.nats = -torch.tensor(frequencies, dtype=torch.float64).log()

    def nll(self, tokens_BT, targets_BT):
        return self.nats[targets_BT]


def test_a_unigram_model_has_the_perplexity_of_its_text():
    """Frequencies 1/2, 1/4, 1/8, 1/8 in every eight tokens: an entropy of 1.75 bits."""
    told = torch.tensor([0, 0, 0, 0, 1, 1, 2, 3] * 600, dtype=torch.uint8)
    held = Corpus("eights", "", told, told, told)
    seen = held_out(Unigram([0.5, 0.25, 0.125, 0.125]), case(seq_len=16), held, "cpu")
    assert [e.context for e in seen["evaluations"]] == [16, 4, 8, 16, 32, 64, 128]
    for evaluation in (*seen["evaluations"], seen["sliding"]):
        assert losses.perplexity(evaluation) == pytest.approx(2**1.75, rel=1e-12)
        assert losses.bits_per_byte(evaluation) == pytest.approx(1.75, rel=1e-12)
    # spelled by tokens of three bytes, the same bits go into three times the text
    thrice = Tokenizer("threes", "", torch.tensor([3, 3, 3, 3]), of_bytes)
    seen = held_out(
        Unigram([0.5, 0.25, 0.125, 0.125]),
        case(seq_len=16),
        replace(held, tokenizer=thrice),
        "cpu",
    )
    for evaluation in (*seen["evaluations"], seen["sliding"]):
        assert losses.perplexity(evaluation) == pytest.approx(2**1.75, rel=1e-12)
        assert losses.bits_per_byte(evaluation) == pytest.approx(1.75 / 3, rel=1e-12)


def test_tokenizers_are_asked_about_the_same_bytes():
    """The targets that spell the first so many bytes, of tokens of one, two or three."""
    told = torch.tensor([0, 2, 1, 0, 2, 2, 0])
    reader = Reader(Unigram([1.0]), case(), torch.tensor([1, 2, 3]), "cpu")
    assert [reader.targets(told, limit) for limit in (2, 3, 5, 6, 100)] == [0, 1, 2, 3, 6]


def test_each_domain_is_told_by_itself_and_all_together():
    ones, twos = torch.zeros(700).byte(), torch.ones(900).byte()
    domains = Domain("ones", ones, ones), Domain("twos", twos, twos)
    both = torch.cat([ones, twos])
    mixed = Corpus("both", "", both, both, both, domains)
    seen = held_out(Unigram([0.5, 0.25]), case(seq_len=16), mixed, "cpu")
    count = len(seen["evaluations"]) + 1
    assert [e.domain for e in seen["by_domain"]] == ["ones"] * count + ["twos"] * count
    for evaluation in seen["by_domain"]:
        bits = {"ones": 1, "twos": 2}[evaluation.domain]
        assert losses.bits_per_byte(evaluation) == pytest.approx(bits)
    for whole in (*seen["evaluations"], seen["sliding"]):
        which = (whole.split, whole.context, whole.stride)
        parts = [e for e in seen["by_domain"] if (e.split, e.context, e.stride) == which]
        assert whole.domain is None and whole.target_bytes == sum(e.target_bytes for e in parts)
        assert sum(whole.nats) == pytest.approx(sum(sum(e.nats) for e in parts))
        assert sum(whole.tokens) == sum(sum(e.tokens) for e in parts)


def test_a_run_in_bpe_is_told_in_bytes(text, tmp_path, monkeypatch):
    pytest.importorskip("tokenizers")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    told = corpus.tokenized(text, "bpe:400")
    record = run(case(tokenizer="bpe:400"), told)
    assert results.read(record.save(tmp_path)) == record
    assert record.tokenizer_sha256 == told.tokenizer.sha256 and record.status == "ok"
    in_bytes = run(case(), text)
    d_model = archs.load("gru").SIZES["100k"].d_model
    assert record.embedding_params - in_bytes.embedding_params == (400 - 256) * d_model
    assert in_bytes.tokenizer_sha256 is None
    for evaluation in (*record.evaluations, record.sliding):
        # the first targets of the text; half a window later where windows overlap
        first = 1 if evaluation.stride is None else 17
        part = getattr(told, evaluation.split)[first : first + sum(evaluation.tokens)]
        assert evaluation.target_bytes == int(told.tokenizer.token_bytes[part.long()].sum())
        assert evaluation.target_bytes > 1.5 * len(part)
        assert losses.bits_per_byte(evaluation) < 8


def test_training_learns_and_is_told_at_every_context(text):
    record = run(case(), text)
    assert record.status == "ok" and len(record.train_nats) == 32
    assert record.train_nats[-1] < record.train_nats[0] - 1
    asked = [(e.split, e.context) for e in record.evaluations]
    assert asked == [("valid", 32), *[("test", c) for c in (8, 16, 32, 64, 128, 256)]]
    assert len({e.target_bytes for e in record.evaluations if e.split == "test"}) == 1
    assert (record.sliding.context, record.sliding.stride) == (32, 16) and not record.by_domain
    for told in (*record.evaluations, record.sliding):
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
    rates = [training.schedule(step, 100, 5) for step in range(100)]
    assert rates[0] == pytest.approx(0.2) and max(rates) == rates[5] == 1.0
    assert rates[5:] == sorted(rates[5:], reverse=True) and rates[-1] == pytest.approx(
        0.1, abs=1e-3
    )


def test_recurrences_own_numbers_are_not_decayed():
    model = archs.build("mamba", "100k")
    decayed, spared = (group["params"] for group in training.decay_groups(model))
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)].rpartition(".")[2] for p in decayed} == {"weight"}
    assert any("a_log" in names[id(p)] for p in spared)
    assert len(decayed) + len(spared) == len(names)


def test_the_corpus_is_split_by_whole_documents():
    whole = corpus.sotu()
    assert whole.sha256 == corpus.SHA256["sotu"] and whole.domains == ()
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


def test_the_width_is_known_without_solving_for_a_size():
    for arch in archs.usual():
        assert archs.d_model(arch, "100k") == archs.load(arch).SIZES["100k"].d_model
