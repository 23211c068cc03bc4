"""The training loop: stopped anywhere and gone on with, it computes the same bits."""

import math
import time

import pytest
import torch

import archs
from benchmarks import training
from benchmarks.training import Batch, Checkpoint, Diverged, Recipe
from results import Case, Progress

STEPS = 12
RECIPE = Recipe(steps=STEPS, warmup=3, betas=(0.9, 0.95), weight_decay=0.1)
CASE = Case(
    phase="quality", arch="gru", size="100k", seq_len=16, batch=2, tokens=STEPS * 32, lr=0.01
)


class Interrupted(Exception):
    pass


def draw(generator):
    text_BT = torch.randint(256, (2, 17), generator=generator)
    return Batch(text_BT[:, :-1], text_BT[:, 1:])


def interrupt(steps):
    """A check that lets so many steps pass."""
    left = steps

    def check():
        nonlocal left
        if left == 0:
            raise Interrupted
        left -= 1

    return check


def build(arch="gru"):
    torch.manual_seed(0)
    return archs.build(arch, "100k", max_len=16)


def run(model, checkpoint=None, check=lambda: None):
    seen = lambda step: Progress(step=step, answers=8, right=int(torch.randint(8, ())))  # noqa: E731
    return training.train(model, draw, RECIPE, CASE, "cpu", check, checkpoint, seen)


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture
def often(monkeypatch):
    """A checkpoint after every step."""
    monkeypatch.setattr(training, "CHECKPOINT_EVERY_S", 0.0)


@pytest.mark.parametrize("arch", ["gru", "llama", "mamba2"])
@pytest.mark.parametrize("stops", [[1], [STEPS - 1], [4, 3, 2]], ids=str)
def test_a_resumed_training_ends_with_the_same_bits(often, tmp_path, arch, stops):
    whole = build(arch)
    expected = run(whole)
    for steps in stops:
        with pytest.raises(Interrupted):
            run(build(arch), Checkpoint(tmp_path / "it.json", "same"), interrupt(steps))
        torch.rand(7)  # what another case draws meanwhile
    model = build(arch)
    steps_left = []
    resumed = run(model, Checkpoint(tmp_path / "it.json", "same"), lambda: steps_left.append(1))
    assert len(steps_left) == STEPS - sum(stops)
    assert torch.equal(weights(model), weights(whole))
    assert resumed.nats == expected.nats and resumed.progress == expected.progress
    assert len(resumed.nats) == STEPS and resumed.train_s >= resumed.step_s > 0


@pytest.mark.parametrize("spoil", ["cut", "flip", "empty", "other"])
def test_what_is_not_a_whole_checkpoint_of_this_training_is_left_aside(often, tmp_path, spoil):
    checkpoint = Checkpoint(tmp_path / "it.json", "same")
    with pytest.raises(Interrupted):
        run(build(), checkpoint, interrupt(5))
    assert checkpoint.load()["step"] == 5
    whole = bytearray(checkpoint.path.read_bytes())
    if spoil == "cut":
        checkpoint.path.write_bytes(whole[:-100])
    elif spoil == "flip":
        whole[len(whole) // 2] ^= 1
        checkpoint.path.write_bytes(whole)
    elif spoil == "empty":
        checkpoint.path.write_bytes(b"")
    else:
        checkpoint = Checkpoint(tmp_path / "it.json", "other code")
    assert checkpoint.load() is None
    steps = []
    assert run(build(), checkpoint, lambda: steps.append(1)).nats == run(build()).nats
    assert len(steps) == STEPS


def test_a_checkpoint_is_hidden_and_leaves_nothing_half_written(often, tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path / "it.json", "same")
    checkpoint.save({"step": 1})
    before = checkpoint.path.read_bytes()
    assert checkpoint.path.name == ".it.json.checkpoint"

    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(training.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save({"step": 2})
    assert checkpoint.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.path.name]


def test_how_often_losses_are_looked_at_changes_nothing(monkeypatch):
    every_step = build()
    expected = run(every_step)
    monkeypatch.setitem(training.LOOK_EVERY, "cpu", 5)
    seldom = build()
    assert run(seldom).nats == expected.nats
    assert torch.equal(weights(seldom), weights(every_step))


@pytest.mark.parametrize("look_every", [1, 5])
def test_a_loss_that_is_not_finite_ends_the_training(monkeypatch, look_every):
    monkeypatch.setitem(training.LOOK_EVERY, "cpu", look_every)
    model, steps = build(), []
    original = model.nll

    def nll(tokens_BT, targets_BT):
        steps.append(1)
        return original(tokens_BT, targets_BT) * (math.inf if len(steps) == 3 else 1.0)

    monkeypatch.setattr(model, "nll", nll)
    with pytest.raises(Diverged, match="not finite at step 3") as raised:
        run(model)
    assert len(raised.value.nats) == 2 and len(steps) <= max(3, look_every)


def test_only_what_is_asked_counts():
    """Against the mean over the asked targets alone, and with others' targets anything at all."""
    model = build()
    tokens_BT = torch.randint(256, (2, 16))
    asked_BT = torch.zeros(2, 16, dtype=torch.bool)
    asked_BT[0, 3] = asked_BT[1, 9] = True
    nll_BT = model.nll(tokens_BT, tokens_BT)
    expected = (nll_BT[0, 3] + nll_BT[1, 9]).item() / 2
    targets_BT = torch.where(asked_BT, tokens_BT, 0)
    told = training.train(
        model, lambda _: Batch(tokens_BT, targets_BT, asked_BT), RECIPE, CASE, "cpu", lambda: None
    )
    assert told.nats[0] == pytest.approx(expected, rel=1e-6)


def test_time_outside_the_models_step_is_not_called_inside():
    def slow(generator):
        time.sleep(0.01)
        return draw(generator)

    told = training.train(build(), slow, RECIPE, CASE, "cpu", lambda: None)
    assert told.train_s - told.step_s >= STEPS * 0.01


def test_the_rates_of_a_training_are_warmed_up_and_cooled_down():
    model = build()
    seen = training._Run(model, draw, RECIPE, CASE, "cpu")
    rates = []
    for _ in range(STEPS):
        seen.advance()
        rates.append(seen.optimizer.param_groups[0]["lr"])
    assert rates[:3] == pytest.approx([0.01 / 3, 0.02 / 3, 0.01])
    # a cosine from 1 to a tenth over the nine steps after the warm-up, written out
    cosine = [0.01 * (0.1 + 0.9 * (1 + math.cos(math.pi * i / 9)) / 2) for i in range(9)]
    assert rates[3:] == pytest.approx(cosine)
