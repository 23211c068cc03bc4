"""What a model is told to do, what it is to answer, and, where a rule says so, how good that is.

Every prompt has P tokens and every answer room for R, so that no architecture needs a mask: an
answer ends with END, and after its end there is only END.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from archs import LanguageModel
from benchmarks.training import Batch

END = 0
ANSWERS = 1024  # held out


class Asked(NamedTuple):
    prompts_BP: Tensor
    answers_BR: Tensor

    def to(self, device: str) -> "Asked":
        return Asked(*(part.to(device) for part in self))


class Pairs(NamedTuple):
    """Preferences: of two answers to a prompt the one that is better, and the other."""

    prompts_BP: Tensor
    better_BR: Tensor
    worse_BR: Tensor

    def to(self, device: str) -> "Pairs":
        return Pairs(*(part.to(device) for part in self))

    def rows(self, chosen: Tensor | slice) -> "Pairs":
        return Pairs(*(part[chosen] for part in self))


Gold = Callable[[Tensor, Tensor], Tensor]  # prompts, answers → (B,) how good they are


class Instructions(Protocol):
    @property
    def vocab_size(self) -> int: ...

    @property
    def room(self) -> int:
        """R."""
        ...

    @property
    def sha256(self) -> str | None:
        """Of what was read; None: they are drawn."""
        ...

    @property
    def gold(self) -> Gold | None:
        """None: nobody knows how good an answer is."""
        ...

    @property
    def preferences(self) -> tuple[Pairs, Pairs] | None:
        """To learn from and held out; None: to be collected, if there is a gold reward."""
        ...

    @property
    def held_out(self) -> Asked: ...

    def prepare(self, model: LanguageModel) -> None:
        """Weights as a pretraining on these begins."""

    def pretraining(self, batch: int, generator: torch.Generator) -> Batch: ...

    def examples(self, batch: int, generator: torch.Generator) -> Asked:
        """To learn from; none of them is held out."""
        ...


def counted(answers_BR: Tensor) -> Tensor:
    """(B, R), where an answer's tokens are: up to its end, and that too."""
    ended_BR = (answers_BR == END).cumsum(1)
    return (ended_BR == 0) | ((ended_BR == 1) & (answers_BR == END))


def to_learn(asked: Asked) -> Batch:
    """Whose loss counts at the answers only."""
    text_BT = torch.cat(asked, dim=1)
    asked_BT = torch.zeros_like(text_BT, dtype=torch.bool)
    asked_BT[:, asked.prompts_BP.shape[1] :] = counted(asked.answers_BR)
    return Batch(text_BT[:, :-1], text_BT[:, 1:], asked_BT[:, 1:])
