"""Parity: after each bit, whether the ones so far are odd.

One bit of state, changed by the input for ever: constant-depth attention and diagonal recurrences
with positive decay cannot do it at every length; an Elman cell can. Load: 1, the bit.

Merrill et al., The Illusion of State  https://arxiv.org/abs/2404.08819
Grazzi et al., Unlocking State-Tracking in Linear RNNs  https://arxiv.org/abs/2411.12537
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from benchmarks import tasks
from benchmarks.tasks import Sequences
from results.schema import Learned


@dataclass(frozen=True)
class Task(tasks.Task):
    phase: ClassVar[Learned] = "state"
    binned_by: ClassVar[Literal["distance", "position"]] = "position"

    def __post_init__(self) -> None:
        if self.load != 1:
            raise ValueError(f"parity keeps one bit in mind; its load is 1, not {self.load}")

    @property
    def vocab_size(self) -> int:
        return 2

    def draw(self, seq_len: int, batch: int, generator: torch.Generator) -> Sequences:
        bits_BT = torch.randint(2, (batch, seq_len), generator=generator)
        read_BT = torch.arange(1, seq_len + 1).repeat(batch, 1)
        return Sequences(bits_BT, bits_BT.cumsum(1) % 2, torch.ones_like(bits_BT).bool(), read_BT)
