"""Reward models of ever more preferences, the question being how many it takes; and best of n."""

import torch
from msgspec.structs import replace

from archs import LanguageModel
from benchmarks.align import best_of, reward
from benchmarks.align.course import Course
from benchmarks.align.instructions import Pairs
from benchmarks.align.policy import draw_many
from benchmarks.align.reward import RewardModel
from benchmarks.align.stages import Descent, Tensors
from benchmarks.phases import precision
from results import BestOf, Collected, Scorer

HELD_OUT = 1024  # pairs, where they are collected
SHARES = (16, 4, 1)  # of the pairs, one in so many
FEWEST = 16  # pairs
RL_SHARE, NOISE = 4, 0.25  # whose reward model RL is given, and the one with label noise
SPREAD_OVER = 2048  # answers that have rewards of mean 0 and standard deviation 1
PROMPTS, SAMPLES = 64, 256  # of best of n


def asked(pairs: int) -> list[tuple[int, float]]:
    """Of each reward model its pairs and label noise; the first so many of `pairs`."""
    ladder = sorted({pairs // share for share in SHARES if pairs // share >= FEWEST})
    return [*((some, 0.0) for some in ladder), (for_rl(pairs), NOISE)]


def for_rl(pairs: int) -> int:
    return max(FEWEST, pairs // RL_SHARE)


def preferences(course: Course, policy: LanguageModel) -> tuple[Collected, Tensors]:
    """To learn from and held out: those given, or the policy's answers by gold reward."""
    drawn = None
    if course.instructions.preferences is not None:
        pairs, held_out = course.instructions.preferences
    else:
        assert course.case.pairs is not None
        both, drawn = reward.collect(
            policy,
            course.instructions,
            course.case.pairs + HELD_OUT,
            course.generator("preferences"),
            course.sampler("preferences"),
            course.check,
        )
        pairs, held_out = both.rows(slice(HELD_OUT, None)), both.rows(slice(HELD_OUT))
    seen = Collected(pairs=len(pairs.prompts_BP), held_out=len(held_out.prompts_BP), drawn=drawn)
    tensors = {f"learned {name}": part for name, part in pairs._asdict().items()}
    return seen, tensors | {f"held out {name}": p for name, p in held_out._asdict().items()}


def learned(
    course: Course, policy: LanguageModel, pairs: Pairs, held_out: Pairs, noise: float
) -> tuple[Scorer, Tensors]:
    """A reward model of `pairs`, `noise` of them turned over."""
    model = RewardModel(policy)
    generator = course.generator(f"reward model of {len(pairs.prompts_BP)} {noise}")
    turned = reward.turned_over(pairs, noise, generator) if noise else pairs
    steps, at_once = course.steps("reward"), max(1, course.case.batch // 2)
    descent = Descent(model.parameters(), steps, course.rate("reward"))
    for _ in range(steps):
        course.check()
        some = torch.randint(len(turned.prompts_BP), (at_once,), generator=generator)
        prompts_BP, better_BR, worse_BR = turned.rows(some.to(course.device))
        with precision(course.case, course.device):
            rewards_B = model(prompts_BP.repeat(2, 1), torch.cat([better_BR, worse_BR]))
            loss = reward.loss(*rewards_B.chunk(2))
        descent.step(loss)
    better_B = model.of_many(held_out.prompts_BP, held_out.better_BR)
    worse_B = model.of_many(held_out.prompts_BP, held_out.worse_BR)
    prompts_BP = course.instructions.examples(SPREAD_OVER, generator).prompts_BP.to(course.device)
    sampler = course.sampler("answers to standardise over")
    drawn_BR = draw_many(policy, prompts_BP, course.instructions.room, sampler)
    model.standardise(prompts_BP, drawn_BR)
    seen = Scorer(
        pairs=len(pairs.prompts_BP),
        noise=noise,
        train_nats=tuple(descent.nats),
        asked=len(better_B),
        right=int((better_B > worse_B).sum()),
    )
    return seen, dict(model.state_dict())


def best_of_n(
    course: Course, policy: LanguageModel, models: dict[tuple[int, float], RewardModel]
) -> tuple[BestOf, ...]:
    """Each reward model's choice among the same answers, for n in powers of two."""
    prompts_BP = course.held_out.prompts_BP[:PROMPTS].repeat_interleave(SAMPLES, 0)
    room, sampler = course.instructions.room, course.sampler("best of n")
    answers_BR = draw_many(policy, prompts_BP, room, sampler)
    gold = course.instructions.gold
    gold_BN = None if gold is None else gold(prompts_BP, answers_BR).view(-1, SAMPLES)
    found = list[BestOf]()
    for (pairs, noise), model in models.items():
        course.check()
        proxy_BN = model.of_many(prompts_BP, answers_BR).view(-1, SAMPLES)
        for n in (2**power for power in range(SAMPLES.bit_length())):
            seen = BestOf(
                pairs=pairs,
                noise=noise,
                n=n,
                samples=SAMPLES,
                proxy=tuple(best_of.expected(proxy_BN, proxy_BN, n).tolist()),
                gold=(),
            )
            if gold_BN is not None:
                chosen = best_of.expected(proxy_BN, gold_BN, n).tolist()
                seen = replace(seen, gold=tuple(chosen))
            found.append(seen)
    return tuple(found)
