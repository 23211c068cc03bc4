"""Gated recurrent unit: gates decide how much of the state to reset and how much to keep.

    r_t, z_t = σ(W x_t + U h_{t-1} + b)
    n_t = tanh(W_n x_t + r_t (U_n h_{t-1} + b_n))        h_t = (1 - z_t) n_t + z_t h_{t-1}

Cho et al., Learning Phrase Representations  https://arxiv.org/abs/1406.1078, in cuDNN's form, where
the reset acts after the product.
"""

from typing import NamedTuple

from torch import Tensor

from archs import _cell, _spine
from archs._cell import Config
from archs._ops import last
from archs._ops.recurrent import gru
from archs._sizes import Matched


class State(NamedTuple):
    h_BE: Tensor


class Mixer(_cell.Cell):
    def __init__(self, config: Config) -> None:
        super().__init__(config, gates=3)

    def init_state(self, batch: int, max_len: int) -> State:
        return State(self.weight_hh.new_zeros(batch, self.weight_hh.shape[1]))

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        h_BE = self.init_state(len(x_BTD), 0).h_BE if state is None else state.h_BE
        h_BTE = gru(x_BTD, self.weights, h_BE, kernel=self.kernel)
        return h_BTE, None if state is None else State(last(h_BTE))


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


SIZES = Matched(Block, _cell.shapes)
