"""In-context Markov chains: each sequence has a chain of its own, to be learned while reading it.

    each row of the chain ~ Dirichlet(α, …, α)
    p(v | x_1 … x_t) = (n(x_t, v) + α) / (n(x_t) + α V)

The second line, n being counts of transitions so far, is the exact Bayes predictor: what exceeds
its loss is what the model failed to keep. Load: V², the counts to keep, so a square.

Edelman et al., The Evolution of Statistical Induction Heads  https://arxiv.org/abs/2402.11004
"""

from dataclasses import dataclass
from math import isqrt
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from benchmarks import tasks
from benchmarks.tasks import Sequences
from results.schema import Learned

ALPHA = 0.3


@dataclass(frozen=True)
class Task(tasks.Task):
    phase: ClassVar[Learned] = "markov"
    binned_by: ClassVar[Literal["distance", "position"]] = "position"

    def __post_init__(self) -> None:
        if self.load < 4 or isqrt(self.load) ** 2 != self.load:
            raise ValueError(f"the load of markov is the square of its tokens, not {self.load}")

    @property
    def vocab_size(self) -> int:
        return isqrt(self.load)

    def draw(self, seq_len: int, batch: int, generator: torch.Generator) -> Sequences:
        V = self.vocab_size
        draws = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        below_BVV = draws.dirichlet([ALPHA] * V, size=(batch, V)).cumsum(-1)
        below_BVV[..., -1] = 1.0  # a rounded sum would let a draw fall past the last token
        draw_TB1, rows = draws.random((seq_len, batch, 1)), np.arange(batch)
        text = np.empty((batch, seq_len + 1), dtype=np.int64)
        text[:, 0] = draws.integers(V, size=batch)
        for t in range(seq_len):
            text[:, t + 1] = (below_BVV[rows, text[:, t]] <= draw_TB1[t]).sum(-1)
        text_BT = torch.from_numpy(text)
        inputs_BT = text_BT[:, :-1]
        read_BT = torch.arange(1, seq_len + 1).repeat(batch, 1)
        return Sequences(inputs_BT, text_BT[:, 1:], torch.ones_like(inputs_BT).bool(), read_BT)

    def bayes(self, inputs_BT: Tensor) -> Tensor:
        V = self.vocab_size
        # what followed each earlier visit to the token at hand
        again_BTT = (inputs_BT[:, :, None] == inputs_BT[:, None, :]).tril(-1)
        followed_BTV = one_hot(inputs_BT.roll(-1, 1), V)
        counts_BTV = again_BTT.double() @ followed_BTV.double() + ALPHA
        return (counts_BTV / counts_BTV.sum(-1, keepdim=True)).log()
