"""Mamba-2: Mamba with one decay a head, which turns the recurrence into matrix products.

    h_t = exp(dt_t a) h_{t-1} + dt_t x_t ⊗ B_t        y_t = h_t C_t + D x_t
    y gated by SiLU(z_t), then normalised

Dao & Gu, Transformers are SSMs  https://arxiv.org/abs/2405.21060
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops.short_conv import short_conv
from archs._ops.ssd import chunk_length, ssd
from archs._sizes import Matched
from archs.mamba import init_dt_bias


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_inner: int
    d_head: int = 64
    d_state: int = 128
    d_conv: int = 4

    @property
    def n_head(self) -> int:
        return self.d_inner // self.d_head


class State(NamedTuple):
    tail_BWE: Tensor  # the convolution's last inputs
    h_BNHK: Tensor


class Mixer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        E, N, H = config.d_inner, config.d_state, config.n_head
        if E % config.d_head:
            raise ValueError(f"d_head={config.d_head} does not divide d_inner={E}")
        self.kernel = config.kernel
        self.n_head, self.d_head, self.d_state = H, config.d_head, N
        self.inputs = nn.Linear(config.d_model, 2 * E + 2 * N + H, bias=False)
        self.conv = nn.Conv1d(
            E + 2 * N, E + 2 * N, config.conv_width(config.d_conv), groups=E + 2 * N
        )
        self.dt_bias_H = nn.Parameter(init_dt_bias(H))
        self.a_log_H = nn.Parameter(torch.empty(H).uniform_(1, 16).log())
        self.skip_H = nn.Parameter(torch.ones(H))
        self.norm = _spine.RMSNorm(E, config.kernel)
        self.out = nn.Linear(E, config.d_model, bias=False)

    def init_state(self, batch: int, max_len: int) -> State:
        channels, _, width = self.conv.weight.shape
        zeros = self.out.weight.new_zeros
        dtype = torch.promote_types(self.out.weight.dtype, torch.float32)
        h_BNHK = zeros(batch, self.d_state, self.n_head, self.d_head, dtype=dtype)
        return State(zeros(batch, width - 1, channels), h_BNHK)

    def forward(self, u_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        tail_BWE, h_BNHK = self.init_state(len(u_BTD), 0) if state is None else state
        E, N, H = self.n_head * self.d_head, self.d_state, self.n_head
        z_BTE, xbc_BTE, dt_BTH = self.inputs(u_BTD).split((E, E + 2 * N, H), dim=-1)
        xbc_BTE, tail_BWE = short_conv(
            xbc_BTE, self.conv.weight, self.conv.bias, tail_BWE, kernel=self.kernel
        )
        x_BTE, b_BTN, c_BTN = F.silu(xbc_BTE).split((E, N, N), dim=-1)
        x_BTHK = x_BTE.unflatten(-1, (H, self.d_head))
        # the scan's steps and state are in float32 or wider: decays near 1 need it
        dt_BTH = F.softplus(dt_BTH.to(h_BNHK.dtype) + self.dt_bias_H)
        a_H = -self.a_log_H.to(h_BNHK.dtype).exp()
        y_BTHK, h_BNHK = ssd(x_BTHK, dt_BTH, a_H, b_BTN, c_BTN, h_BNHK, kernel=self.kernel)
        y_BTE = (y_BTHK + self.skip_H[:, None] * x_BTHK).flatten(2).to(u_BTD.dtype)
        y_BTD = self.out(self.norm(y_BTE * F.silu(z_BTE)))
        return y_BTD, None if state is None else State(tail_BWE, h_BNHK)

    def flops(self, tokens: int, past: int) -> float:
        """The paper's four products: scores and outputs within a chunk, states in and out."""
        E, N = self.n_head * self.d_head, self.d_state
        return 2 * min(chunk_length(N, self.d_head), tokens) * (N + E) + 4 * E * N


class Block(_spine.MixerOnly):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


def head_width(size) -> int:
    """64, the paper's, from d_model 512 up; below, an eighth of d_model but at least 16."""
    return min(64, max(16, size.d_model // 8))


def depths(size) -> list[int]:
    """Layer counts, nearest first to two Mamba-2 blocks for each attention + MLP pair.

    d_inner comes in whole heads, too coarse to meet the budget at one depth alone.
    """
    double = 2 * size.n_layer
    return sorted(range(double * 3 // 4, double * 5 // 4 + 1), key=lambda n: abs(n - double))


def shapes(size):
    for n_layer in depths(size):
        yield lambda width, n_layer=n_layer: Config(
            d_model=size.d_model,
            n_layer=n_layer,
            vocab_size=size.vocab_size,
            d_inner=width,
            d_head=head_width(size),
            d_state=min(128, size.d_model // 2),
        )


SIZES = Matched(Block, shapes, lambda size: [head_width(size)])
