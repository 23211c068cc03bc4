"""A language model as a policy: it draws answers, and says how likely they are.

Drawing reads the prompt into a fresh state and takes a token a step, as any generation does; what
is learned from is scored in one pass without a state. Both through the same `forward`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from archs import LanguageModel
from benchmarks.align.instructions import END, counted

ROWS = 2048  # answers at once, where many are wanted


@torch.no_grad()
def draw(
    model: LanguageModel, prompts_BP: Tensor, room: int, generator: torch.Generator | None
) -> Tensor:
    """(B, R) answers at temperature 1; without a generator the likeliest token at each place."""
    states = model.init_state(len(prompts_BP), prompts_BP.shape[1] + room)
    x_BTD, states = model(prompts_BP, states)
    ended_B = torch.zeros(len(prompts_BP), dtype=torch.bool, device=prompts_BP.device)
    drawn = list[Tensor]()
    for place in range(room):
        logits_BV = model.logits(x_BTD[:, -1]).float()
        if generator is None:
            token_B = logits_BV.argmax(-1)
        else:
            token_B = torch.multinomial(logits_BV.softmax(-1), 1, generator=generator)[:, 0]
        token_B = token_B.masked_fill(ended_B, END)
        drawn.append(token_B)
        ended_B |= token_B == END
        if place < room - 1:
            x_BTD, states = model(token_B[:, None], states)
    return torch.stack(drawn, dim=1)


def draw_many(
    model: LanguageModel, prompts_BP: Tensor, room: int, generator: torch.Generator | None
) -> Tensor:
    """As `draw`, so many at once that they fit."""
    parts = prompts_BP.split(ROWS)
    return torch.cat([draw(model, part_BP, room, generator) for part_BP in parts])


def log_probs(model: LanguageModel, prompts_BP: Tensor, answers_BR: Tensor) -> Tensor:
    """(B, R, V) of every token at each place of the answer, in nats."""
    text_BT = torch.cat([prompts_BP, answers_BR], dim=1)
    x_BTD, _ = model(text_BT[:, :-1])
    return F.log_softmax(model.logits(x_BTD[:, prompts_BP.shape[1] - 1 :]).float(), dim=-1)


def told(log_probs_BRV: Tensor, answers_BR: Tensor) -> Tensor:
    """(B,) nats, log-probability of each whole answer, its end included."""
    of_tokens_BR = log_probs_BRV.gather(-1, answers_BR[..., None])[..., 0]
    return (of_tokens_BR * counted(answers_BR)).sum(1)


def divergence(ours_BRV: Tensor, theirs_BRV: Tensor, answers_BR: Tensor) -> Tensor:
    """(B,) nats: of answers drawn from ours, the KL divergence of ours from theirs.

    Summed over places is the divergence of the two next-token distributions there, whose mean over
    answers is that of whole answers, by the chain rule; it scatters less than the difference of
    the answers' own log-probabilities and is never below zero.
    """
    at_BR = (ours_BRV.exp() * (ours_BRV - theirs_BRV)).sum(-1)
    return (at_BR * counted(answers_BR)).sum(1)
