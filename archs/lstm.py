"""Long short-term memory: a cell that adds instead of overwriting, behind three gates.

    i_t, f_t, o_t = σ(W x_t + U h_{t-1} + b)        g_t = tanh(W_g x_t + U_g h_{t-1} + b_g)
    c_t = f_t c_{t-1} + i_t g_t                     h_t = o_t tanh(c_t)

Hochreiter & Schmidhuber, 1997  https://doi.org/10.1162/neco.1997.9.8.1735; the forget gate, open at
first (bias 1): Gers et al., 2000  https://doi.org/10.1162/089976600300015015
"""

from typing import NamedTuple

from torch import Tensor, nn

from archs import _cell, _spine
from archs._cell import Config
from archs._ops import last
from archs._ops.recurrent import lstm
from archs._sizes import Matched


class State(NamedTuple):
    h_BE: Tensor
    c_BE: Tensor


class Mixer(_cell.Cell):
    def __init__(self, config: Config) -> None:
        super().__init__(config, gates=4)
        nn.init.ones_(self.bias_ih.chunk(4)[1])

    def init_state(self, batch: int, max_len: int) -> State:
        zeros_BE = self.weight_hh.new_zeros(batch, self.weight_hh.shape[1])
        return State(zeros_BE, zeros_BE.clone())

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        h_BE, c_BE = self.init_state(len(x_BTD), 0) if state is None else state
        h_BTE, c_BE = lstm(x_BTD, self.weights, h_BE, c_BE, kernel=self.kernel)
        return h_BTE, None if state is None else State(last(h_BTE), c_BE)


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


SIZES = Matched(Block, _cell.shapes)
