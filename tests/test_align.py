"""Alignment's arithmetic, against brute force over every answer that there is, and closed forms."""

import itertools
import math
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import archs
from benchmarks.align import best_of, preference, reward, rules
from benchmarks.align.instructions import END, Asked, Pairs, counted, to_learn
from benchmarks.align.policy import divergence, draw, log_probs, told
from benchmarks.align.reward import RewardModel
from benchmarks.align.rules import Rules

V, ROOM = 3, 3


def policy(seed, arch="lstm"):
    torch.manual_seed(seed)
    model = archs.build(arch, "d8", max_len=16, vocab_size=V)
    torch.nn.init.normal_(model.embed.weight, std=0.3)
    return model.double()


def every_answer():
    """Those that end, and those that fill the room: one row each."""
    rows = {
        tuple(row[: row.index(END)] + (END,) * ROOM)[:ROOM] if END in row else row
        for row in itertools.product(range(V), repeat=ROOM)
    }
    return torch.tensor(sorted(rows))


@pytest.fixture(scope="module")
def everything():
    """One prompt with every answer, and their log-probabilities by two policies."""
    answers_BR = every_answer()
    prompts_BP = torch.tensor([[1, 2]]).expand(len(answers_BR), 2)
    ours, theirs = (
        log_probs(policy(seed), prompts_BP, answers_BR).detach().double() for seed in (0, 1)
    )
    return prompts_BP, answers_BR, ours, theirs


def test_probabilities_of_all_answers_add_up_to_one(everything):
    _, answers_BR, ours, _ = everything
    assert len(answers_BR) == 1 + 2 + 4 + 8  # ended after 0, 1, 2 letters, or not at all
    assert float(told(ours, answers_BR).exp().sum()) == pytest.approx(1, abs=1e-5)


def test_divergence_is_that_of_whole_answers(everything):
    _, answers_BR, ours, theirs = everything
    p, q = told(ours, answers_BR), told(theirs, answers_BR)
    exact = float((p.exp() * (p - q)).sum())
    assert exact > 0.01
    in_the_mean = float((p.exp() * divergence(ours, theirs, answers_BR)).sum())
    assert in_the_mean == pytest.approx(exact, rel=1e-4)
    assert divergence(ours, ours, answers_BR).abs().max() == 0


@pytest.mark.parametrize("arch", ["lstm", "llama", "mamba2"])
def test_answers_are_drawn_as_likely_as_they_are(arch):
    model, answers_BR, count = policy(0, arch).float(), every_answer(), 20_000
    prompts_BP = torch.tensor([[1, 2]])
    with torch.no_grad():
        all_BP = prompts_BP.expand(len(answers_BR), 2)
        p = told(log_probs(model, all_BP, answers_BR), answers_BR).exp().numpy()
    drawn = draw(model, prompts_BP.expand(count, 2), ROOM, torch.Generator().manual_seed(0))
    rows = {tuple(row): i for i, row in enumerate(answers_BR.tolist())}
    seen = np.bincount([rows[tuple(row)] for row in drawn.tolist()], minlength=len(rows))
    # each count is binomial: within five standard deviations
    assert (np.abs(seen - count * p) < 5 * np.sqrt(count * p * (1 - p)) + 1).all()
    likeliest = draw(model, prompts_BP, ROOM, None)
    told_BRV = log_probs(model, prompts_BP, likeliest)
    assert (told_BRV.argmax(-1) == likeliest)[counted(likeliest)].all()


def test_tokens_count_up_to_the_end_and_that_too():
    answers = torch.tensor([[2, 1, END, END], [END, END, END, END], [1, 1, 2, 2]])
    assert counted(answers).tolist() == [
        [True, True, True, False],
        [True, False, False, False],
        [True] * 4,
    ]
    batch = to_learn(Asked(torch.ones(3, 2, dtype=torch.long), answers))
    assert batch.asked_BT.tolist() == [[False, *row] for row in counted(answers).tolist()]
    assert batch.inputs_BT.shape == batch.targets_BT.shape == (3, 5)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_best_of_n_is_the_mean_over_all_ways_to_take_n(n):
    random = np.random.default_rng(0)
    proxy, gold = random.standard_normal((2, 4, 5))
    ours = best_of.expected(torch.tensor(proxy), torch.tensor(gold), n)
    for row, found in enumerate(ours.tolist()):
        chosen = [
            gold[row][max(some, key=lambda i: proxy[row][i])]
            for some in itertools.combinations(range(5), n)
        ]
        assert found == pytest.approx(np.mean(chosen))
    # what is told of the proxy itself never falls with n
    own = torch.tensor(proxy)
    means = [best_of.expected(own, own, k).mean() for k in (1, 3, 5)]
    assert means == sorted(means)


def test_the_baseline_is_the_mean_of_the_other_answers():
    rewards = np.random.default_rng(0).standard_normal((3, 4))
    ours = preference.leave_one_out(torch.tensor(rewards))
    for b, k in itertools.product(range(3), range(4)):
        others = [rewards[b][j] for j in range(4) if j != k]
        assert float(ours[b, k]) == pytest.approx(rewards[b][k] - np.mean(others))


def test_rloo_climbs_the_expected_reward_less_the_penalty(everything):
    """Over every two answers the mean gradient is that of E[r] - β KL, exactly."""
    _, answers_BR, _, theirs = everything
    reward_B, beta = torch.linspace(-1, 2, len(answers_BR), dtype=torch.float64), 0.3
    free = (0.1 * torch.randn(len(answers_BR), generator=torch.Generator().manual_seed(1))).double()
    free = free.requires_grad_()
    logs_B, then_B = free.log_softmax(0), told(theirs, answers_BR)
    objective = (logs_B.exp() * (reward_B - beta * (logs_B - then_B))).sum()
    (exact,) = torch.autograd.grad(objective, free)
    logs_B, mean = free.log_softmax(0), 0
    net_B = (reward_B - beta * (logs_B - then_B)).detach()
    for i, j in itertools.product(range(len(answers_BR)), repeat=2):
        pair = torch.tensor([i, j])
        loss = preference.rloo(logs_B[pair][None], net_B[pair][None])
        mean = mean - (logs_B[i] + logs_B[j]).exp().detach() * loss
    (estimated,) = torch.autograd.grad(mean, free)
    assert torch.allclose(estimated, exact, atol=1e-9)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_losses_of_preferences_are_the_papers():
    better, worse, better_then, worse_then = np.random.default_rng(0).standard_normal((4, 6))
    given = map(torch.tensor, (better, worse, better_then, worse_then))
    margin = 0.1 * ((better - better_then) - (worse - worse_then))
    assert float(preference.dpo(*given, 0.1)) == pytest.approx(-np.log(sigmoid(margin)).mean())
    begun = torch.tensor(better), torch.tensor(worse)
    assert float(preference.dpo(*begun, *begun, 0.1)) == pytest.approx(math.log(2))
    found = float(reward.loss(*begun))
    assert found == pytest.approx(-np.log(sigmoid(better - worse)).mean())


def test_dpo_agrees_with_trl(everything):
    """Their trainer's loss and its gradient, from our model's log-probabilities of the tokens."""
    trainer = pytest.importorskip("trl.trainer.dpo_trainer").DPOTrainer
    prompts_BP, answers_BR, *_ = everything
    model, begun, few = policy(0), policy(1), 4
    pairs = Pairs(prompts_BP[:few], answers_BR[:few], answers_BR[-few:])
    both_BP, both_BR = pairs.prompts_BP.repeat(2, 1), torch.cat(pairs[1:])

    def answered(policy):
        return told(log_probs(policy, both_BP, both_BR), both_BR).chunk(2)

    ours = preference.dpo(*answered(model), *(part.detach() for part in answered(begun)), 0.1)
    ours.backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()

    def called(input_ids, labels, **given):
        """As their wrapper answers: of each label its log-probability, none where there is none."""
        logs_BTV = log_probs(model, input_ids[:, :1], input_ids[:, 1:])
        asked_BT = labels[:, 1:] != -100
        logs_BT = logs_BTV.gather(-1, input_ids[:, 1:, None])[..., 0] * asked_BT
        nothing = torch.zeros_like(logs_BT)
        rest = {"entropy": nothing, "mean_logits": nothing, "is_top1": asked_BT}
        return SimpleNamespace(log_probs=logs_BT, **rest)

    def same(value):
        return value

    stub = SimpleNamespace(
        **dict.fromkeys(("aux_loss_enabled", "use_weighting")),
        **{"model": SimpleNamespace(training=True), "ld_alpha": None, "beta": 0.1},
        **{"precompute_ref_logps": True, "f_divergence_type": "reverse_kl"},
        **{"loss_types": ["sigmoid"], "loss_weights": [1.0]},
        **{"_metrics": {"train": defaultdict(list)}, "_total_train_tokens": 0, "_tp_size": 1},
        accelerator=SimpleNamespace(device="cpu", gather_for_metrics=same, gather=same),
    )
    text_BT = torch.cat([both_BP, both_BR], dim=1)
    mask_BT = torch.cat([torch.zeros_like(both_BP), counted(both_BR).long()], dim=1)
    then = [part.detach() for part in answered(begun)]
    inputs = {"input_ids": text_BT, "completion_mask": mask_BT}
    inputs |= {"attention_mask": torch.ones_like(text_BT)}
    inputs |= {"ref_chosen_logps": then[0], "ref_rejected_logps": then[1]}
    theirs = trainer._compute_loss(stub, called, inputs, False)
    theirs.backward()
    assert float(theirs.detach()) == pytest.approx(float(ours.detach()), rel=1e-5)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)


def test_a_reward_is_read_where_the_answer_ends():
    model = RewardModel(policy(0).float())
    torch.nn.init.normal_(model.head.weight)
    prompts, answers = torch.tensor([[1, 2], [1, 2]]), torch.tensor([[2, END, END], [2, 1, 2]])
    x_BTD, _ = model.trunk(torch.cat([prompts, answers], dim=1))
    places = x_BTD[0, 3], x_BTD[1, 4]
    assert torch.allclose(model(prompts, answers), torch.stack([model.head(x)[0] for x in places]))
    drawn = draw(model.trunk, prompts.repeat(50, 1), 3, torch.Generator().manual_seed(0))
    for _ in range(2):  # once more changes nothing
        model.standardise(prompts.repeat(50, 1), drawn)
        rewards = model.of_many(prompts.repeat(50, 1), drawn)
        assert float(rewards.mean()) == pytest.approx(0, abs=1e-5)
        assert float(rewards.std()) == pytest.approx(1, abs=1e-4)


def generators():
    return torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)


def test_preferences_are_the_gold_rewards_and_noise_turns_a_share_over():
    torch.manual_seed(0)
    asked = Rules(seq_len=8)
    model = archs.build("lstm", "d8", max_len=8, vocab_size=asked.vocab_size)
    pairs, drawn = reward.collect(model, asked, 3000, *generators(), lambda: None)
    assert len(pairs.prompts_BP) == 3000 <= drawn
    gold = [asked.gold(pairs.prompts_BP, some) for some in pairs[1:]]
    assert (gold[0] > gold[1]).all()
    turned = reward.turned_over(pairs, 0.25, torch.Generator().manual_seed(0))
    is_turned = (turned.better_BR == pairs.worse_BR).all(1)
    assert ((turned.worse_BR == pairs.better_BR).all(1) == is_turned).all()
    assert float(is_turned.double().mean()) == pytest.approx(0.25, abs=0.04)
    assert Pairs(*pairs).rows(slice(3)).prompts_BP.shape == (3, 4)


def test_rules_are_followed():
    letters = torch.tensor([[3, 2, 9]]).expand(3, 3)
    assert rules.followed(torch.arange(3), letters).tolist() == [[3, 2, 9], [9, 2, 3], [2, 3, 9]]


def test_gold_reward_is_of_places_and_length():
    asked = Rules(seq_len=10)
    prompts, answers = asked.examples(200, torch.Generator().manual_seed(0))
    assert prompts.shape == (200, 5) and answers.shape == (200, 5)
    assert (asked.gold(prompts, answers) == 1).all()
    nothing = torch.full_like(answers, END)
    assert torch.allclose(asked.gold(prompts, nothing), torch.tensor(-0.6).double())
    long = torch.cat([answers[:, :3], torch.full((200, 2), rules.LETTER)], dim=1)
    assert torch.allclose(asked.gold(prompts, long), torch.tensor(0.6).double())
    wrong = answers.clone()
    wrong[:, 1] = rules.LETTER + (wrong[:, 1] - rules.LETTER + 1) % rules.LETTERS
    assert torch.allclose(asked.gold(prompts, wrong), torch.tensor(2 / 3).double())


def test_what_is_held_out_is_never_learned_and_pretraining_does_not_tell_the_rule():
    asked, generator = Rules(seq_len=14), torch.Generator().manual_seed(0)

    def sums(prompts):
        return (prompts[:, 1:-1] - rules.LETTER).sum(1) % rules.LETTERS

    assert (sums(asked.held_out.prompts_BP) == 0).all()
    prompts, answers = asked.examples(4000, generator)
    assert (sums(prompts) != 0).all()
    inputs, targets, counts = asked.pretraining(4000, generator)
    prompts, answers = inputs[:, :7], targets[:, 6:]
    assert counts[:, 6:12].all() and not counts[:, :6].any()
    right = asked.gold(prompts, answers) == 1
    # one rule in three, and rows on which two rules agree
    assert 0.31 < float(right.double().mean()) < 0.37
    with pytest.raises(ValueError, match="--seq-len 9: rules need an even number"):
        Rules(seq_len=9)
