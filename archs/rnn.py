"""Elman network: the whole past in one vector, rewritten at every token.

    h_t = tanh(W x_t + U h_{t-1} + b)

Elman, Finding Structure in Time, 1990  https://doi.org/10.1207/s15516709cog1402_1
"""

from typing import NamedTuple

from torch import Tensor

from archs import _cell, _spine
from archs._cell import Config
from archs._ops import last
from archs._ops.recurrent import elman
from archs._sizes import Matched


class State(NamedTuple):
    h_BE: Tensor


class Mixer(_cell.Cell):
    def __init__(self, config: Config) -> None:
        super().__init__(config, gates=1)

    def init_state(self, batch: int, max_len: int) -> State:
        return State(self.weight_hh.new_zeros(batch, self.weight_hh.shape[1]))

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        h_BE = self.init_state(len(x_BTD), 0).h_BE if state is None else state.h_BE
        h_BTE = elman(x_BTD, self.weights, h_BE, kernel=self.kernel)
        return h_BTE, None if state is None else State(last(h_BTE))


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


SIZES = Matched(Block, _cell.shapes)
