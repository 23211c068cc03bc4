"""Hyena, of order two: a convolution as long as the text, between two gates.

    q, k, v = W u_t after a convolution of three tokens
    y_t = q_t ∘ (Σ_{s <= t} filter_{t-s} ∘ (k ∘ v)_s + D ∘ (k ∘ v)_t)
    filter_j = exp(-α j / L) ∘ MLP(j / L, exp(-2πi f j / L)), sines between its layers

Training costs O(T log T). Its state is everything it has read: a token takes O(T), as attention's
does, from E numbers a token read, and E of the filter, which all sequences share. L is fixed, so
that a filter does not depend on how long the text will be.

Poli et al., Hyena Hierarchy, sections 3.2 and 3.3  https://arxiv.org/abs/2302.10866
"""

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops import attention
from archs._ops.long_conv import long_conv, long_conv_flops
from archs._ops.short_conv import short_conv
from archs._sizes import Matched

# a channel's filter has shrunk to 1 % after 0.3 L to 1.5 L
SHRUNK, SOONEST, LATEST = 0.01, 0.3, 1.5
FREQUENCY = 10.0  # of the MLP's sines at first


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_mlp: int
    d_filter: int = 64  # of the filter's MLP
    bands: int = 16
    horizon: int = 1024  # L, in tokens
    d_conv: int = 3


class State(NamedTuple):
    tail_BWG: Tensor  # the short convolution's last inputs
    held_BES: Tensor  # k ∘ v of each token read; rows past the position are zero
    filter_ES: Tensor  # from lag S - 1 to 0
    position: Tensor  # int64, tokens already read


def affine(rows: int, columns: int) -> nn.ParameterList:
    """A linear layer of the filter's, which is paid once a lag, not once a token."""
    weight, bias = torch.empty(rows, columns), torch.empty(rows)
    return nn.ParameterList(p.uniform_(-(columns**-0.5), columns**-0.5) for p in (weight, bias))


def full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Whatever autocast says, which has no word for shapes alone."""
    is_meta = device.type == "meta"
    return nullcontext() if is_meta else torch.autocast(device.type, enabled=False)


class Filter(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.bands, self.horizon, width = config.bands, config.horizon, config.d_filter
        self.layers = nn.ModuleList(
            affine(width, columns) for columns in (1 + 2 * config.bands, width, width)
        )
        self.frequency = nn.Parameter(torch.full((width,), FREQUENCY))
        self.weight_out = nn.Parameter(torch.empty(config.d_model, width))
        nn.init.uniform_(self.weight_out, -(width**-0.5), width**-0.5)

    def forward(self, length: int) -> Tensor:
        """(E, length), lags from the greatest to 0."""
        like = self.weight_out
        dtype = torch.promote_types(like.dtype, torch.float32)
        lag_S = torch.arange(length - 1, -1, -1, device=like.device).to(dtype)
        t_S = lag_S / (self.horizon - 1)
        f = torch.linspace(1e-4, self.bands - 1, self.bands, device=like.device, dtype=dtype)
        angle = lag_S[:, None] * f * (2 * math.pi / self.horizon)
        x = torch.cat([t_S[:, None], angle.cos(), -angle.sin()], dim=-1)
        rates = (-math.log(SHRUNK) / end for end in (LATEST, SOONEST))
        decay_E = torch.linspace(*rates, len(like), device=like.device, dtype=dtype)
        with full_precision(like.device):  # sines of angles as wide as these
            for weight, bias in self.layers:
                x = torch.sin(self.frequency * F.linear(x, weight.to(dtype), bias.to(dtype)))
            return F.linear(like.to(dtype), x) * torch.exp(-decay_E[:, None] * t_S)

    def flops(self) -> int:
        weights = [weight for weight, _ in self.layers] + [self.weight_out]
        return 2 * sum(weight.numel() for weight in weights)


class Mixer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.kernel, E = config.kernel, config.d_model
        self.inputs = nn.Linear(E, 3 * E, bias=False)
        self.conv = nn.Conv1d(3 * E, 3 * E, config.conv_width(config.d_conv), groups=3 * E)
        self.filter = Filter(config)
        self.skip_E = nn.Parameter(torch.randn(E))
        self.out = nn.Linear(E, E, bias=False)

    def init_state(self, batch: int, max_len: int) -> State:
        channels, _, width = self.conv.weight.shape
        zeros = self.out.weight.new_zeros
        return State(
            zeros(batch, width - 1, channels),
            zeros(batch, len(self.skip_E), max_len),
            self.filter(max_len),
            torch.zeros((), dtype=torch.int64, device="cpu"),
        )

    def forward(self, u_BTE: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        B, T, _ = u_BTE.shape
        if state is None:
            channels, _, width = self.conv.weight.shape
            tail_BWG = self.conv.weight.new_zeros(B, width - 1, channels)
        else:
            tail_BWG = state.tail_BWG
        x_BTG, tail_BWG = short_conv(
            self.inputs(u_BTE), self.conv.weight, self.conv.bias, tail_BWG, kernel=self.kernel
        )
        q_BTE, k_BTE, v_BTE = x_BTG.chunk(3, dim=-1)
        kv_BTE = k_BTE * v_BTE
        if state is None:
            held_BES, filter_ES = kv_BTE.mT, self.filter(T)
        else:
            held_BES, filter_ES = hold(kv_BTE, state)
            state = state._replace(tail_BWG=tail_BWG, position=state.position + T)
        wide = held_BES.to(filter_ES.dtype)
        y_BTE = long_conv(wide, filter_ES, T, kernel=self.kernel).mT.to(u_BTE.dtype)
        return self.out(q_BTE * (y_BTE + self.skip_E * kv_BTE)), state

    def flops(self, tokens: int, past: int) -> float:
        """Of one sequence: a batch shares the filter, which decode finds in its state."""
        once = self.filter.flops() if tokens > 1 else 0
        return long_conv_flops(len(self.skip_E), tokens, past) + once


def hold(kv_BTE: Tensor, state: State) -> tuple[Tensor, Tensor]:
    """Write the call's inputs down: all held so far, and the filter of as many lags."""
    (held_BES,), _ = attention.hold(state.position, (state.held_BES, kv_BTE.mT))
    S = state.filter_ES.shape[1]
    if not attention.is_static(state.position) or kv_BTE.shape[1] > 1:
        return held_BES, state.filter_ES[:, S - held_BES.shape[2] :]
    # what is not read yet is zero, whatever it is multiplied with
    lag_S = torch.arange(S, device=kv_BTE.device) + (S - 1 - state.position)
    return held_BES, state.filter_ES[:, lag_S.clamp(max=S - 1)]


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


def shapes(size):
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        vocab_size=size.vocab_size,
        d_mlp=width,
        d_filter=min(64, size.d_model // 2),
    )


SIZES = Matched(Block, shapes)
