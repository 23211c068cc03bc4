"""sLSTM: xLSTM's LSTM with exponential gates, whose memory is normalised by what entered it.

    i, f, z, o = W x_t + R h_{t-1} + b, head by head; x before i and f through a short convolution
    c_t = σ(f) c_{t-1} + exp(i) tanh z        n_t = σ(f) n_{t-1} + exp(i)
    h_t = σ(o) c_t / n_t                      normalised within each head, then an MLP gated by GELU

State: h, c, n, the stabiliser m, and three inputs of the convolution: 7 E numbers.

Beck et al., xLSTM, section 2.2 and figure 9  https://arxiv.org/abs/2405.04517
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops import last
from archs._ops.short_conv import short_conv
from archs._ops.slstm import slstm
from archs._sizes import Matched


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_mlp: int
    n_head: int = 4
    d_conv: int = 4


class State(NamedTuple):
    tail_BWE: Tensor  # the convolution's last inputs
    h_BE: Tensor
    cell_B3E: Tensor  # c, n, m


class Mixer(nn.Module):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        self.kernel, E, H = config.kernel, config.d_model, config.n_head
        K = E // H
        self.conv = nn.Conv1d(E, E, config.conv_width(config.d_conv), groups=E)
        # small init of Nguyen & Salazar, https://arxiv.org/abs/1910.05895, within each head
        self.weight_if = nn.Parameter(torch.randn(H, K, 2 * K) * (0.4 / K) ** 0.5)
        self.weight_zo = nn.Parameter(torch.randn(H, K, 2 * K) * (0.4 / K) ** 0.5)
        self.weight_hh = nn.Parameter(torch.zeros(H, K, 4 * K))
        self.bias = nn.Parameter(torch.zeros(H, 4, K))
        # forget gates from open to shut within a head, more of them open in later layers
        depth = layer / max(1, config.n_layer - 1)
        with torch.no_grad():
            self.bias[:, 1] = 5 - 12 * torch.linspace(0, 1, K) ** (0.3 + 1.3 * depth)
        self.scale_E = nn.Parameter(torch.ones(E))

    def init_state(self, batch: int, max_len: int) -> State:
        E, _, width = self.conv.weight.shape
        zeros = self.scale_E.new_zeros
        dtype = torch.promote_types(self.scale_E.dtype, torch.float32)
        cell_B3E = zeros(batch, 3, E, dtype=dtype)
        cell_B3E[:, 2] = -torch.inf  # the first token's gate is the first to be a maximum
        return State(zeros(batch, width - 1, E), zeros(batch, E, dtype=dtype), cell_B3E)

    def headwise(self, x_BTE: Tensor, weight_HKG: Tensor) -> Tensor:
        """(B, T, H, G)"""
        (B, T, _), (H, K, _) = x_BTE.shape, weight_HKG.shape
        x = x_BTE.reshape(B * T, H, K).transpose(0, 1)
        return (x @ weight_HKG).transpose(0, 1).unflatten(0, (B, T))

    def forward(self, x_BTE: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        tail_BWE, h_BE, cell_B3E = self.init_state(len(x_BTE), 0) if state is None else state
        conv_BTE, tail_BWE = short_conv(
            x_BTE, self.conv.weight, self.conv.bias, tail_BWE, kernel=self.kernel
        )
        gates_if = self.headwise(F.silu(conv_BTE), self.weight_if)
        u_BTHG = torch.cat([gates_if, self.headwise(x_BTE, self.weight_zo)], dim=-1)
        u_BTHG = u_BTHG.to(h_BE.dtype) + self.bias.flatten(1).to(h_BE.dtype)
        weight_HKG = self.weight_hh.to(h_BE.dtype)
        h_BTE, cell_B3E = slstm(u_BTHG, weight_HKG, h_BE, cell_B3E, kernel=self.kernel)
        y_BTE = F.group_norm(h_BTE.flatten(0, 1), len(weight_HKG), eps=_spine.EPS)
        y_BTE = y_BTE.view_as(h_BTE).to(x_BTE.dtype) * self.scale_E
        return y_BTE, None if state is None else State(tail_BWE, last(h_BTE), cell_B3E)

    def flops(self, tokens: int, past: int) -> float:
        weights = self.weight_if, self.weight_zo, self.weight_hh
        return 2 * sum(weight.numel() for weight in weights)


class Block(_spine.MixerMLP):
    gated = _spine.GeGLU

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config, layer))


def shapes(size):
    yield lambda width: Config(
        d_model=size.d_model, n_layer=size.n_layer, vocab_size=size.vocab_size, d_mlp=width
    )


SIZES = Matched(Block, shapes)
