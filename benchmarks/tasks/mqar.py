"""Multi-query associative recall: pairs of key and value, then every key once more, scattered.

    k1 v1 k2 v2 … 0 0 k2 0 k1 0 …        asked at the second k: its v

The gap before a key returns follows a power law. Load: pairs; the vocabulary holds eight tokens a
pair and 64 at least, half of them keys. Guessing is right once in V/2; knowing the values but not
whose they are, once in `load`.

Arora et al., Zoology, section 3 and appendix E  https://arxiv.org/abs/2312.04927
"""

from typing import ClassVar, Literal

import torch

from benchmarks import tasks
from benchmarks.tasks import Sequences
from results.schema import Learned

FILLER = 0
POWER = 0.01  # Zoology's α: the chance of a gap falls with its (1 - α)th power


class Task(tasks.Task):
    phase: ClassVar[Learned] = "recall"
    binned_by: ClassVar[Literal["distance", "position"]] = "distance"

    @property
    def vocab_size(self) -> int:
        return max(64, 8 * self.load)

    def draw(self, seq_len: int, batch: int, generator: torch.Generator) -> Sequences:
        pairs, half = self.load, self.vocab_size // 2
        tasks.needs_length(self, seq_len, 4 * pairs)

        def distinct(count: int) -> torch.Tensor:
            return torch.rand(batch, count, generator=generator).topk(pairs).indices

        keys_BP, values_BP = 1 + distinct(half - 1), half + distinct(half)
        slots = (seq_len - 2 * pairs) // 2
        chance = torch.arange(1, slots + 1, dtype=torch.float32) ** (POWER - 1)
        slot_BP = torch.multinomial(chance.expand(batch, -1), pairs, generator=generator)
        query_BP = 2 * pairs + 2 * slot_BP
        shown_P = 1 + 2 * torch.arange(pairs)  # where each value stands

        inputs_BT = torch.full((batch, seq_len), FILLER)
        inputs_BT[:, 0 : 2 * pairs : 2] = keys_BP
        inputs_BT[:, 1 : 2 * pairs : 2] = values_BP
        inputs_BT.scatter_(1, query_BP, keys_BP)
        blank_BT = torch.zeros_like(inputs_BT)
        return Sequences(
            inputs_BT,
            blank_BT.scatter(1, query_BP, values_BP),
            blank_BT.bool().scatter(1, query_BP, True),
            blank_BT.scatter(1, query_BP, query_BP - shown_P),
        )
