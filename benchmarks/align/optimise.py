"""The fine-tuned policy moved towards what is preferred, looked at on the way.

DPO learns from the pairs, RLOO from a reward model that judges what the policy draws, less β for
each nat that it has gone from where it began. What one looks at are answers to held-out prompts.
"""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from archs import LanguageModel
from benchmarks import machine
from benchmarks.align import preference
from benchmarks.align.course import Course
from benchmarks.align.instructions import Pairs
from benchmarks.align.policy import divergence, draw, log_probs, told
from benchmarks.align.reward import RewardModel
from benchmarks.align.stages import Descent, Tensors
from benchmarks.machine import clock
from benchmarks.phases import precision
from results import Optimised, Reached, Spent
from results.alignment import Method, Work

ANSWERS = 4  # of RLOO to each prompt
LOOKS, LOOKED_AT = 10, 512  # times on the way, prompts


@dataclass(frozen=True, kw_only=True)
class Aim:
    method: Method
    beta: float

    def __str__(self) -> str:
        return f"{self.method} {self.beta}"


AIMS = (
    Aim(method="dpo", beta=0.1),
    Aim(method="rloo", beta=0.02),
    Aim(method="rloo", beta=0.2),
)


class Pursuit:
    """One policy under way to one aim."""

    def __init__(
        self, course: Course, aim: Aim, begun: LanguageModel, judge: RewardModel, pairs: Pairs
    ) -> None:
        self.course, self.aim, self.begun, self.judge, self.pairs = course, aim, begun, judge, pairs
        self.policy = deepcopy(begun)
        self.room = course.instructions.room
        self.steps = course.steps("policy")
        self.descent = Descent(self.policy.parameters(), self.steps, course.rate("policy"))
        self.generator, self.sampler = course.generator(str(aim)), course.sampler(str(aim))

    def generate(self) -> tuple[Tensor, Tensor]:
        """Prompts and ANSWERS answers to each, case.batch in all."""
        few = max(1, self.course.case.batch // ANSWERS)
        prompts_BP = self.course.instructions.examples(few, self.generator).prompts_BP
        prompts_BP = prompts_BP.to(self.course.device).repeat_interleave(ANSWERS, 0)
        return prompts_BP, draw(self.policy, prompts_BP, self.room, self.sampler)

    def some_pairs(self) -> Pairs:
        few, have = max(1, self.course.case.batch // 2), len(self.pairs.prompts_BP)
        some = torch.randint(have, (few,), generator=self.generator)
        return self.pairs.rows(some.to(self.course.device))

    def of_rewards(self, prompts_BP: Tensor, answers_BR: Tensor) -> Tensor:
        ours_B = told(log_probs(self.policy, prompts_BP, answers_BR), answers_BR)
        with torch.no_grad():
            theirs_B = told(log_probs(self.begun, prompts_BP, answers_BR), answers_BR)
            rewards_B = self.judge(prompts_BP, answers_BR)
            rewards_B = rewards_B - self.aim.beta * (ours_B - theirs_B)
        return preference.rloo(ours_B.view(-1, ANSWERS), rewards_B.view(-1, ANSWERS))

    def of_pairs(self, some: Pairs) -> Tensor:
        prompts_BP, answers_BR = some.prompts_BP.repeat(2, 1), torch.cat(some[1:])
        ours_B = told(log_probs(self.policy, prompts_BP, answers_BR), answers_BR)
        with torch.no_grad():
            theirs_B = told(log_probs(self.begun, prompts_BP, answers_BR), answers_BR)
        (better_B, worse_B), (better_then_B, worse_then_B) = ours_B.chunk(2), theirs_B.chunk(2)
        return preference.dpo(better_B, worse_B, better_then_B, worse_then_B, self.aim.beta)

    def update(self, loss_of: Callable[[], Tensor]) -> None:
        with precision(self.course.case, self.course.device):
            loss = loss_of()
        self.descent.step(loss)

    def advance(self, generate_s: list[float], update_s: list[float]) -> None:
        """One step, and its seconds."""
        if self.aim.method == "dpo":
            some = self.some_pairs()
            start = clock()
            self.update(lambda: self.of_pairs(some))
            update_s.append(clock() - start)
        else:
            start = clock()
            drawn = self.generate()
            middle = clock()
            self.update(lambda: self.of_rewards(*drawn))
            generate_s.append(middle - start)
            update_s.append(clock() - middle)

    @torch.no_grad()
    def look(self, step: int) -> Reached:
        prompts_BP = self.course.held_out.prompts_BP[:LOOKED_AT]
        answers_BR = draw(self.policy, prompts_BP, self.room, self.course.sampler("looks"))
        ours, theirs = (log_probs(m, prompts_BP, answers_BR) for m in (self.policy, self.begun))
        gold = self.course.instructions.gold
        return Reached(
            step=step,
            answers=len(prompts_BP),
            kl_nats=float(divergence(ours, theirs, answers_BR).double().sum()),
            proxy=float(self.judge(prompts_BP, answers_BR).double().sum()),
            gold=None if gold is None else float(gold(prompts_BP, answers_BR).double().sum()),
        )

    def costs(self, generate_s: list[float], update_s: list[float]) -> tuple[Spent, ...]:
        """Of the steps that took so long. Memory is read in further ones, which count no more."""
        peaks, device = dict[Work, machine.Peak](), self.course.device
        if self.aim.method == "dpo":
            some = self.some_pairs()
            sequences, loss_of = 2 * len(some.prompts_BP), partial(self.of_pairs, some)
        else:
            drawn = self.generate()
            sequences, loss_of = len(drawn[0]), partial(self.of_rewards, *drawn)
            peaks["generate"] = machine.peak_memory(device, self.generate)
        peaks["update"] = machine.peak_memory(device, partial(self.update, loss_of))
        tokens: dict[Work, int] = {"generate": self.room, "update": self.course.case.seq_len}
        taken: dict[Work, tuple[float, ...]]
        taken = {"generate": tuple(generate_s), "update": tuple(update_s)}
        return tuple(
            Spent(
                work=work,
                tokens=sequences * tokens[work],
                step_s=taken[work],
                peak_bytes=peak.peak_bytes,
                peak_method=peak.peak_method,
            )
            for work, peak in peaks.items()
        )


def optimised(
    course: Course, aim: Aim, begun: LanguageModel, judge: RewardModel, pairs: Pairs
) -> tuple[Optimised, Tensors]:
    pursuit = Pursuit(course, aim, begun, judge, pairs)
    every = max(1, pursuit.steps // LOOKS)
    reached, generate_s, update_s = [pursuit.look(0)], list[float](), list[float]()
    for step in range(1, pursuit.steps + 1):
        course.check()
        pursuit.advance(generate_s, update_s)
        if step % every == 0 or step == pursuit.steps:
            reached.append(pursuit.look(step))
    answered = course.answered(pursuit.policy)
    seen = Optimised(
        method=aim.method,
        beta=aim.beta,
        pairs=len(pairs.prompts_BP),
        reached=tuple(reached),
        spent=pursuit.costs(generate_s, update_s),
        answered=answered,
    )
    return seen, {}
