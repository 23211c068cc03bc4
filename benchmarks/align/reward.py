"""A reward model: the fine-tuned policy's trunk with a head at the answer's last token.

    P(better ≻ worse) = σ(r(better) - r(worse))

Bradley & Terry, 1952  https://doi.org/10.2307/2334029
Stiennon et al., Learning to summarize from human feedback, 2020  https://arxiv.org/abs/2009.01325
"""

from collections.abc import Callable
from copy import deepcopy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import LanguageModel
from benchmarks.align.instructions import Instructions, Pairs, counted
from benchmarks.align.policy import ROWS, draw

CHUNK = 2048  # prompts that are answered twice at once


class RewardModel(nn.Module):
    mean: Tensor
    spread: Tensor

    def __init__(self, policy: LanguageModel) -> None:
        super().__init__()
        self.trunk = deepcopy(policy)
        weight = policy.embed.weight
        self.head = nn.Linear(policy.config.d_model, 1, bias=False, device=weight.device)
        nn.init.zeros_(self.head.weight)
        self.register_buffer("mean", torch.zeros((), device=weight.device))
        self.register_buffer("spread", torch.ones((), device=weight.device))

    def forward(self, prompts_BP: Tensor, answers_BR: Tensor) -> Tensor:
        """(B,) rewards."""
        x_BTD, _ = self.trunk(torch.cat([prompts_BP, answers_BR], dim=1))
        last_B = prompts_BP.shape[1] + counted(answers_BR).sum(1) - 1
        x_BD = x_BTD[torch.arange(len(x_BTD), device=x_BTD.device), last_B]
        return (self.head(x_BD)[:, 0].float() - self.mean) / self.spread

    @torch.no_grad()
    def of_many(self, prompts_BP: Tensor, answers_BR: Tensor) -> Tensor:
        parts = zip(prompts_BP.split(ROWS), answers_BR.split(ROWS), strict=True)
        return torch.cat([self(*part) for part in parts])

    def standardise(self, prompts_BP: Tensor, answers_BR: Tensor) -> None:
        """Mean 0 and standard deviation 1 over these answers, so that a KL penalty means the same
        to every architecture."""
        rewards_B = self.of_many(prompts_BP, answers_BR)
        self.mean.copy_(self.mean + self.spread * rewards_B.mean())
        self.spread.copy_(self.spread * rewards_B.std())


def loss(better_B: Tensor, worse_B: Tensor) -> Tensor:
    """Mean negative log-likelihood of the preferences, in nats."""
    return -F.logsigmoid(better_B - worse_B).mean()


def collect(
    policy: LanguageModel,
    instructions: Instructions,
    count: int,
    generator: torch.Generator,
    sampler: torch.Generator,
    check: Callable[[], None],
) -> tuple[Pairs, int]:
    """`count` pairs of the policy's own answers, the better one by the gold reward, and how many
    were drawn for them; ties are left out. `generator` draws prompts, `sampler`, on the policy's
    device, answers."""
    assert instructions.gold is not None
    found, have, drawn = list[Pairs](), 0, 0
    while have < count:
        check()
        drawn += CHUNK
        prompts_BP = instructions.examples(CHUNK, generator).prompts_BP.to(sampler.device)
        one_BR, two_BR = (draw(policy, prompts_BP, instructions.room, sampler) for _ in range(2))
        apart_B = instructions.gold(prompts_BP, one_BR) - instructions.gold(prompts_BP, two_BR)
        first_B1 = (apart_B > 0)[:, None]
        better_BR = torch.where(first_B1, one_BR, two_BR)
        worse_BR = torch.where(first_B1, two_BR, one_BR)
        found.append(Pairs(prompts_BP, better_BR, worse_BR).rows(apart_B != 0))
        have += len(found[-1].prompts_BP)
    return Pairs(*map(torch.cat, zip(*found, strict=True))).rows(slice(count)), drawn


def turned_over(pairs: Pairs, share: float, generator: torch.Generator) -> Pairs:
    """Label noise: of a `share` of the pairs, in the mean, the worse answer is called better."""
    turned_B1 = torch.rand(len(pairs.prompts_BP), 1, generator=generator) < share
    turned_B1 = turned_B1.to(pairs.prompts_BP.device)
    return Pairs(
        pairs.prompts_BP,
        torch.where(turned_B1, pairs.worse_BR, pairs.better_BR),
        torch.where(turned_B1, pairs.better_BR, pairs.worse_BR),
    )
