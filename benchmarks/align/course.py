"""What all steps of one alignment share: what is asked of it, its seeds, steps and rates."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from archs import LanguageModel
from benchmarks.align.instructions import Asked, Instructions, counted
from benchmarks.align.policy import ROWS, draw_many, log_probs, told
from results import Answered, Case

# of the pretraining's steps, and of its learning rate
STEPS = {"fine-tuning": 1 / 6, "reward": 1 / 2, "policy": 1 / 3}
RATES = {"fine-tuning": 1 / 3, "reward": 1 / 2, "policy": 1 / 10}


@dataclass(frozen=True)
class Course:
    case: Case
    instructions: Instructions
    device: str
    check: Callable[[], None]

    @property
    def pretraining_steps(self) -> int:
        assert self.case.tokens is not None
        return max(1, self.case.tokens // (self.case.batch * self.case.seq_len))

    def steps(self, what: str) -> int:
        return max(1, round(STEPS[what] * self.pretraining_steps))

    def rate(self, what: str) -> float:
        assert self.case.lr is not None
        return RATES[what] * self.case.lr

    def seed(self, what: str) -> int:
        """Of its own for each thing drawn, so that a step draws the same whatever ran before."""
        return zlib.crc32(f"{what} {self.case.seed}".encode())

    def generator(self, what: str) -> torch.Generator:
        return torch.Generator().manual_seed(self.seed(what))

    def sampler(self, what: str) -> torch.Generator:
        """For tokens, which are drawn where the model is."""
        return torch.Generator(self.device).manual_seed(self.seed(f"{what}, tokens"))

    @cached_property
    def held_out(self) -> Asked:
        return self.instructions.held_out.to(self.device)

    @torch.no_grad()
    def answered(self, policy: LanguageModel) -> Answered:
        prompts_BP, answers_BR = self.held_out
        parts = zip(prompts_BP.split(ROWS // 8), answers_BR.split(ROWS // 8), strict=True)
        nats = -sum(float(told(log_probs(policy, *part), part[1]).double().sum()) for part in parts)
        seen: dict[str, Any] = {}
        if self.instructions.gold is not None:
            room = self.instructions.room
            likeliest_BR = draw_many(policy, prompts_BP, room, None)
            drawn_BR = draw_many(policy, prompts_BP, room, self.sampler("held-out answers"))
            seen["exact"] = int((likeliest_BR == answers_BR).all(1).sum())
            seen["gold"] = tuple(self.instructions.gold(prompts_BP, drawn_BR).tolist())
        return Answered(
            prompts=len(prompts_BP), answer_tokens=int(counted(answers_BR).sum()), nats=nats, **seen
        )
