"""Selective copying: symbols scattered among blanks, to be written out in order at the end.

    . c . . a . b | | |        asked at the bars: c a b

What lies between symbols varies, so no fixed delay will do. Load: symbols, each of 16 kinds.

Jing et al., Gated Orthogonal Recurrent Units  https://arxiv.org/abs/1706.02761
Gu & Dao, Mamba, section 4.1.1                 https://arxiv.org/abs/2312.00752
"""

from typing import ClassVar, Literal

import torch

from benchmarks import tasks
from benchmarks.tasks import Sequences
from results.schema import Learned

KINDS = 16
BLANK, BAR = KINDS, KINDS + 1


class Task(tasks.Task):
    phase: ClassVar[Learned] = "recall"
    binned_by: ClassVar[Literal["distance", "position"]] = "distance"

    @property
    def vocab_size(self) -> int:
        return KINDS + 2

    def draw(self, seq_len: int, batch: int, generator: torch.Generator) -> Sequences:
        tasks.needs_length(self, seq_len, 2 * self.load)
        room = seq_len - self.load
        symbols_BP = torch.randint(KINDS, (batch, self.load), generator=generator)
        place_BP = (
            torch.rand(batch, room, generator=generator).topk(self.load).indices.sort().values
        )
        bars_P = torch.arange(room, seq_len)

        inputs_BT = torch.full((batch, seq_len), BLANK)
        inputs_BT.scatter_(1, place_BP, symbols_BP)
        inputs_BT[:, room:] = BAR
        targets_BT, places_BT = torch.zeros_like(inputs_BT), torch.zeros_like(inputs_BT)
        targets_BT[:, room:] = symbols_BP
        places_BT[:, room:] = bars_P - place_BP
        return Sequences(inputs_BT, targets_BT, inputs_BT == BAR, places_BT)
