"""Induction heads: the sign is met for the second time; what followed it the first time?

    d a b ! c b d a c b a !        asked at the second sign: c

Load: the kinds of other tokens, all equally likely; guessing is right once in `load`. Learned at
one length and asked at up to sixteen times that.

Olsson et al., In-context Learning and Induction Heads  https://arxiv.org/abs/2209.11895
Gu & Dao, Mamba, section 4.1.2                          https://arxiv.org/abs/2312.00752
"""

from typing import ClassVar, Literal

import torch

from benchmarks import tasks
from benchmarks.tasks import Sequences
from results.schema import Learned


class Task(tasks.Task):
    phase: ClassVar[Learned] = "recall"
    binned_by: ClassVar[Literal["distance", "position"]] = "distance"
    lengths: ClassVar[tuple[int, ...]] = (1, 2, 4, 8, 16)

    @property
    def vocab_size(self) -> int:
        return self.load + 1

    def draw(self, seq_len: int, batch: int, generator: torch.Generator) -> Sequences:
        tasks.needs_length(self, seq_len, 3)
        sign = self.load
        inputs_BT = torch.randint(self.load, (batch, seq_len), generator=generator)
        first_B1 = torch.randint(seq_len - 2, (batch, 1), generator=generator)
        answer_B1 = inputs_BT.gather(1, first_B1 + 1)
        inputs_BT.scatter_(1, first_B1, sign)
        inputs_BT[:, -1] = sign
        targets_BT, places_BT = torch.zeros_like(inputs_BT), torch.zeros_like(inputs_BT)
        targets_BT[:, -1:] = answer_B1
        places_BT[:, -1:] = seq_len - 1 - (first_B1 + 1)
        asked_BT = torch.zeros_like(inputs_BT, dtype=torch.bool)
        asked_BT[:, -1] = True
        return Sequences(inputs_BT, targets_BT, asked_BT, places_BT)
