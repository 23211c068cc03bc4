"""minGRU: a GRU whose gates see the input only, so that a whole sequence is one scan.

    h_t = (1 - z_t) h_{t-1} + z_t g(c_t)        z_t = σ(W_z x_t), c_t = W_c x_t
    g(c) = c + 1/2 where c >= 0, σ(c) below, so that the state stays positive

Feng et al., Were RNNs All We Needed?  https://arxiv.org/abs/2410.01201
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from archs import _spine
from archs._ops import last
from archs._ops.linear_scan import linear_scan
from archs._sizes import Matched


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_inner: int
    d_mlp: int


class State(NamedTuple):
    h_BE: Tensor


class Mixer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.d_inner, self.kernel = config.d_inner, config.kernel
        self.gates = nn.Linear(config.d_model, 2 * config.d_inner)
        self.out = nn.Linear(config.d_inner, config.d_model, bias=False)

    def init_state(self, batch: int, max_len: int) -> State:
        dtype = torch.promote_types(self.out.weight.dtype, torch.float32)
        return State(self.out.weight.new_zeros(batch, self.d_inner, dtype=dtype))

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        h_BE = self.init_state(len(x_BTD), 0).h_BE if state is None else state.h_BE
        z_BTE, c_BTE = self.gates(x_BTD).to(h_BE.dtype).chunk(2, dim=-1)
        z_BTE = z_BTE.sigmoid()
        candidate_BTE = torch.where(c_BTE >= 0, c_BTE + 0.5, c_BTE.sigmoid())
        h_BTE = linear_scan(1 - z_BTE, z_BTE * candidate_BTE, h_BE, kernel=self.kernel)
        y_BTD = self.out(h_BTE.to(x_BTD.dtype))
        return y_BTD, None if state is None else State(last(h_BTE))

    def flops(self, tokens: int, past: int) -> float:
        return 4 * self.d_inner  # 1 - z, z g, and the multiply-add of the recurrence


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


def shapes(size):
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        vocab_size=size.vocab_size,
        d_inner=2 * size.d_model,
        d_mlp=width,
    )


SIZES = Matched(Block, shapes)
