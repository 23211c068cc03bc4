"""Permutation composition: after each permutation, the product of all so far.

    p_t = g_t ∘ p_{t-1}        token i is the i-th permutation in lexicographic order

Load: the things permuted. From five on the group cannot be solved, and its word problem is complete
for NC¹: out of reach of what runs in constant depth (TC⁰), attention and diagonal scans at a fixed
number of layers, and within reach of one recurrent layer.

Merrill et al., The Illusion of State, section 3  https://arxiv.org/abs/2404.08819
"""

from dataclasses import dataclass
from functools import cache
from itertools import permutations
from math import factorial
from typing import ClassVar, Literal

import torch
from torch import Tensor

from benchmarks import tasks
from benchmarks.tasks import Sequences
from results.schema import Learned

MOST = 6  # things: 720 permutations, a table of half a million products


@cache
def products(things: int) -> Tensor:
    """(n!, n!): the number of a ∘ b, b first."""
    every = torch.tensor(list(permutations(range(things))))
    place = things ** torch.arange(things)
    number = torch.empty(int(things**things), dtype=torch.int64)
    number[(every * place).sum(-1)] = torch.arange(len(every))
    # (a ∘ b)(i) = a(b(i))
    return torch.stack([number[(a[every] * place).sum(-1)] for a in every])


@dataclass(frozen=True)
class Task(tasks.Task):
    phase: ClassVar[Learned] = "state"
    binned_by: ClassVar[Literal["distance", "position"]] = "position"

    def __post_init__(self) -> None:
        if not 2 <= self.load <= MOST:
            raise ValueError(f"permutations come of 2 to {MOST} things, not {self.load}")

    @property
    def vocab_size(self) -> int:
        return factorial(self.load)

    def draw(self, seq_len: int, batch: int, generator: torch.Generator) -> Sequences:
        inputs_BT = torch.randint(self.vocab_size, (batch, seq_len), generator=generator)
        table, product_BT, span = products(self.load), inputs_BT, 1
        while span < seq_len:  # each then holds the product of its last 2 * span
            joined = table[product_BT[:, span:], product_BT[:, :-span]]
            product_BT, span = torch.cat([product_BT[:, :span], joined], dim=1), 2 * span
        read_BT = torch.arange(1, seq_len + 1).repeat(batch, 1)
        return Sequences(inputs_BT, product_BT, torch.ones_like(inputs_BT).bool(), read_BT)
