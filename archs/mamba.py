"""Mamba: a linear state space whose step and projections are chosen by the input.

    h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t        y_t = C_t h_t + D x_t
    dt_t, B_t, C_t linear in x_t, after a short convolution; the output gated by SiLU(z_t)

Gu & Dao, Mamba: Linear-Time Sequence Modeling with Selective State Spaces
https://arxiv.org/abs/2312.00752
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops.selective_scan import selective_scan
from archs._ops.short_conv import short_conv
from archs._sizes import Matched


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_inner: int
    d_state: int = 16
    d_conv: int = 4

    @property
    def dt_rank(self) -> int:
        return math.ceil(self.d_model / 16)


class State(NamedTuple):
    tail_BWE: Tensor  # the convolution's last inputs
    h_BNE: Tensor


def init_dt_bias(width: int) -> Tensor:
    """softplus⁻¹ of steps log-uniform in [0.001, 0.1]: channels remember 10 to 1000 tokens."""
    dt = torch.exp(torch.rand(width) * (math.log(0.1) - math.log(0.001)) + math.log(0.001))
    return dt + torch.log(-torch.expm1(-dt))


class Mixer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.kernel = config.kernel
        self.split = (config.dt_rank, config.d_state, config.d_state)
        E = config.d_inner
        self.inputs = nn.Linear(config.d_model, 2 * E, bias=False)
        self.conv = nn.Conv1d(E, E, config.conv_width(config.d_conv), groups=E)
        self.select = nn.Linear(E, sum(self.split), bias=False)
        self.dt = nn.Linear(config.dt_rank, E)
        decay_N = torch.arange(1, config.d_state + 1, dtype=torch.float32)
        self.a_log_EN = nn.Parameter(decay_N.log().repeat(E, 1))
        self.skip_E = nn.Parameter(torch.ones(E))
        self.out = nn.Linear(E, config.d_model, bias=False)
        nn.init.uniform_(self.dt.weight, -(config.dt_rank**-0.5), config.dt_rank**-0.5)
        with torch.no_grad():
            self.dt.bias.copy_(init_dt_bias(E))

    def init_state(self, batch: int, max_len: int) -> State:
        E, _, width = self.conv.weight.shape
        zeros = self.out.weight.new_zeros
        dtype = torch.promote_types(self.out.weight.dtype, torch.float32)
        return State(zeros(batch, width - 1, E), zeros(batch, self.split[1], E, dtype=dtype))

    def forward(self, u_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        tail_BWE, h_BNE = self.init_state(len(u_BTD), 0) if state is None else state
        x_BTE, z_BTE = self.inputs(u_BTD).chunk(2, dim=-1)
        x_BTE, tail_BWE = short_conv(
            x_BTE, self.conv.weight, self.conv.bias, tail_BWE, kernel=self.kernel
        )
        x_BTE = F.silu(x_BTE)
        dt_BTR, b_BTN, c_BTN = self.select(x_BTE).split(self.split, dim=-1)
        # the scan runs in float32 or wider: decays near 1 need it
        dt_BTE = F.softplus(self.dt(dt_BTR).to(h_BNE.dtype))
        a_EN = -self.a_log_EN.to(h_BNE.dtype).exp()
        x, b_BTN, c_BTN = (v.to(h_BNE.dtype) for v in (x_BTE, b_BTN, c_BTN))
        h_BNE = None if state is None else h_BNE  # no state is zeros, and spares what keeps one
        y_BTE, h_BNE = selective_scan(x, dt_BTE, a_EN, b_BTN, c_BTN, h_BNE, kernel=self.kernel)
        y_BTE = (y_BTE + self.skip_E * x).to(u_BTD.dtype) * F.silu(z_BTE)
        return self.out(y_BTE), None if state is None else State(tail_BWE, h_BNE)

    def flops(self, tokens: int, past: int) -> float:
        return 9 * self.a_log_EN.numel()  # Gu & Dao's count: decay, input, recurrence, output


class Block(_spine.MixerOnly):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


def shapes(size):
    """Two Mamba blocks for each attention + MLP pair, near the paper's d_inner = 2 d_model."""
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=2 * size.n_layer,
        vocab_size=size.vocab_size,
        d_inner=width,
    )


SIZES = Matched(Block, shapes)
