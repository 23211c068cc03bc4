"""Mamba-3, of one input and output: a trapezoidal rule, a state that turns, and no convolution.

    h_t = a_t h_{t-1} + (1 - λ_t) dt_t a_t B_{t-1} x_{t-1}ᵀ + λ_t dt_t B_t x_tᵀ        a = exp(dt A)
    B_t, C_t turned by Σ_{s <= t} dt_s π tanh(θ_s), pair by pair, as by complex eigenvalues
    y_t = h_tᵀ C_t + D x_t, gated by SiLU(z_t)
    dt, A, λ, θ linear in the input; B, C normalised, then biased by head

State: H (N K + N + K + N / 4) numbers: h, the last B and x, the angles. A SwiGLU follows.

Lahoti et al., Mamba-3  https://arxiv.org/abs/2603.15569
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops import last
from archs._ops.ssd import chunk_length
from archs._ops.trapezoidal_scan import trapezoidal_scan
from archs._sizes import Matched
from archs.mamba import init_dt_bias
from archs.mamba2 import head_width

SLOWEST = 1e-4  # of A: no state is kept for ever


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_inner: int
    d_mlp: int
    d_head: int = 64
    d_state: int = 128

    @property
    def n_head(self) -> int:
        return self.d_inner // self.d_head


class State(NamedTuple):
    angle_BHA: Tensor  # A pairs of the N dimensions turn
    h_BHNK: Tensor
    b_BHN: Tensor  # of the last token, turned
    x_BHK: Tensor


class Mixer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        E, N, H, K = config.d_inner, config.d_state, config.n_head, config.d_head
        if E % K or N % 4:
            raise ValueError(f"d_head={K} must divide d_inner={E}, and 4 d_state={N}")
        self.kernel, self.n_head, self.d_head, self.d_state = config.kernel, H, K, N
        self.split = (E, E, N, N, H, H, H, N // 4)  # z, x, B, C, dt, A, λ, θ
        self.inputs = nn.Linear(config.d_model, sum(self.split), bias=False)
        self.dt_bias_H = nn.Parameter(init_dt_bias(H))
        self.norm_b = _spine.RMSNorm(N, config.kernel)
        self.norm_c = _spine.RMSNorm(N, config.kernel)
        self.bias_b_HN = nn.Parameter(torch.ones(H, N))
        self.bias_c_HN = nn.Parameter(torch.ones(H, N))
        self.skip_H = nn.Parameter(torch.ones(H))
        self.out = nn.Linear(E, config.d_model, bias=False)

    def init_state(self, batch: int, max_len: int) -> State:
        H, K, N = self.n_head, self.d_head, self.d_state
        dtype = torch.promote_types(self.out.weight.dtype, torch.float32)
        shapes = (N // 4,), (N, K), (N,), (K,)
        return State(*(self.out.weight.new_zeros(batch, H, *s, dtype=dtype) for s in shapes))

    def turned(self, x_BTHN: Tensor, angle_BTHA: Tensor) -> Tensor:
        """The first two quarters of N rotated against each other, the other two as they are."""
        low, high, still = x_BTHN.split((self.d_state // 4,) * 2 + (self.d_state // 2,), dim=-1)
        cos, sin = angle_BTHA.cos(), angle_BTHA.sin()
        return torch.cat([low * cos - high * sin, low * sin + high * cos, still], dim=-1)

    def forward(self, u_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        fresh = self.init_state(len(u_BTD), 0) if state is None else state
        angle_BHA, h_BHNK, b_BHN, x_BHK = fresh
        z_BTE, x_BTE, b_BTN, c_BTN, *rest = self.inputs(u_BTD).split(self.split, dim=-1)
        # the scan runs in float32 or wider: decays near 1 need it
        wide = h_BHNK.dtype
        dt_BTH, a_BTH, blend_BTH, turn_BTA = (v.to(wide) for v in rest)
        dt_BTH = F.softplus(dt_BTH + self.dt_bias_H)
        a_BTH = -F.softplus(a_BTH).clamp(min=SLOWEST)
        blend_BTH = blend_BTH.sigmoid()
        turn_BTHA = math.pi * turn_BTA.tanh()[:, :, None] * dt_BTH[..., None]
        angle_BTHA = angle_BHA[:, None] + turn_BTHA.cumsum(1)
        b_BTHN, c_BTHN = (
            self.turned(norm(v.to(norm.weight.dtype))[:, :, None].to(wide) + bias, angle_BTHA)
            for norm, v, bias in (
                (self.norm_b, b_BTN, self.bias_b_HN),
                (self.norm_c, c_BTN, self.bias_c_HN),
            )
        )
        x_BTHK = x_BTE.unflatten(-1, (self.n_head, self.d_head)).to(wide)
        now_BTH, before_BTH = blend_BTH * dt_BTH, (1 - blend_BTH) * dt_BTH
        call = c_BTHN, b_BTHN, x_BTHK, a_BTH * dt_BTH, now_BTH, before_BTH
        y_BTHK, h_BHNK = trapezoidal_scan(*call, h_BHNK, b_BHN, x_BHK, kernel=self.kernel)
        y_BTE = (y_BTHK + self.skip_H[:, None] * x_BTHK).flatten(2).to(u_BTD.dtype)
        y_BTD = self.out(y_BTE * F.silu(z_BTE))
        if state is None:
            return y_BTD, None
        angle_BHA = last(angle_BTHA) % (2 * math.pi)
        return y_BTD, State(angle_BHA, h_BHNK, last(b_BTHN), last(x_BTHK))

    def flops(self, tokens: int, past: int) -> float:
        """As Mamba-2's four products, but the scores are each head's own."""
        H, K, N = self.n_head, self.d_head, self.d_state
        return H * (2 * min(chunk_length(N, K), tokens) * (N + K) + 4 * K * N)


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


def shapes(size):
    """The paper's d_inner of 2 d_model; the MLP takes the parameters that are left."""
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        vocab_size=size.vocab_size,
        d_inner=2 * size.d_model // head_width(size) * head_width(size),
        d_mlp=width,
        d_head=head_width(size),
        d_state=min(128, size.d_model // 8 * 4),
    )


SIZES = Matched(Block, shapes)
