"""Gated DeltaNet: the delta rule on a state that fades, as Mamba-2's, by as much as a token says.

    S_t = α_t (I - β_t k_t k_tᵀ) S_{t-1} + β_t k_t v_tᵀ        o_t = S_tᵀ q_t / √N
    α_t = exp(-exp(a) softplus(W_α x_t + b))        β_t = σ(W_β x_t)
    q, k, v by W x, a short convolution and SiLU, q and k then of length 1
    y = W_o (SiLU(W_g x) ∘ norm(o)), the norm over each head

Yang, Kautz & Hatamizadeh, Gated Delta Networks  https://arxiv.org/abs/2412.06464
State: 2 H N² numbers a layer, N = 3 D / 4 H, and the convolution's last three inputs.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops.gated_delta_rule import gated_delta_rule, gated_delta_rule_flops, unit
from archs._ops.short_conv import short_conv
from archs._sizes import Matched
from archs.mamba import init_dt_bias


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_mlp: int
    n_head: int
    d_key: int = 256  # of a head; its values are twice as wide
    d_conv: int = 4


class State(NamedTuple):
    tail_BWE: Tensor  # the convolution's last inputs
    s_BHNK: Tensor


class Mixer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        D, H, N, K = config.d_model, config.n_head, config.d_key, 2 * config.d_key
        self.kernel, self.n_head, self.d_key = config.kernel, H, N
        self.split = (H * (2 * N + K), H * K, H, H)
        self.inputs = nn.Linear(D, sum(self.split), bias=False)
        channels, width = self.split[0], config.conv_width(config.d_conv)
        self.conv = nn.Conv1d(channels, channels, width, groups=channels, bias=False)
        self.dt_bias_H = nn.Parameter(init_dt_bias(H))
        self.a_log_H = nn.Parameter(torch.empty(H).uniform_(0.01, 16).log())
        self.norm = _spine.RMSNorm(K, config.kernel)
        self.out = nn.Linear(H * K, D, bias=False)

    def init_state(self, batch: int, max_len: int) -> State:
        channels, _, width = self.conv.weight.shape
        zeros = self.out.weight.new_zeros
        dtype = torch.promote_types(self.out.weight.dtype, torch.float32)
        s_BHNK = zeros(batch, self.n_head, self.d_key, 2 * self.d_key, dtype=dtype)
        return State(zeros(batch, width - 1, channels), s_BHNK)

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        tail_BWE, s_BHNK = self.init_state(len(x_BTD), 0) if state is None else state
        H, N = self.n_head, self.d_key
        qkv_BTE, z_BTE, beta_BTH, dt_BTH = self.inputs(x_BTD).split(self.split, dim=-1)
        qkv_BTE, tail_BWE = short_conv(
            qkv_BTE, self.conv.weight, None, tail_BWE, kernel=self.kernel
        )
        q_BTHN, k_BTHN, v_BTHK = (
            x.unflatten(-1, (H, -1)) for x in F.silu(qkv_BTE).split((H * N, H * N, 2 * H * N), -1)
        )
        # as in Mamba-2, decays near 1 need float32 or wider
        dt_BTH = F.softplus(dt_BTH.to(s_BHNK.dtype) + self.dt_bias_H)
        g_BTH1 = (-self.a_log_H.to(s_BHNK.dtype).exp() * dt_BTH)[..., None]
        y_BTHK, s_BHNK = gated_delta_rule(
            *(unit(q_BTHN) * N**-0.5, unit(k_BTHN), v_BTHK),
            *(beta_BTH.sigmoid()[..., None], g_BTH1, s_BHNK),
            kernel=self.kernel,
        )
        y_BTHK = F.silu(z_BTE.unflatten(-1, (H, -1))) * self.norm(y_BTHK.to(x_BTD.dtype))
        return self.out(y_BTHK.flatten(2)), None if state is None else State(tail_BWE, s_BHNK)

    def flops(self, tokens: int, past: int) -> float:
        return self.n_head * gated_delta_rule_flops(self.d_key, 2 * self.d_key, tokens)


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


def shapes(size):
    """Keys 3/4 D wide in heads of at most the paper's 256, but four at least."""
    n_head = max(4, 3 * size.d_model // 4 // 256)
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        vocab_size=size.vocab_size,
        n_head=n_head,
        d_key=3 * size.d_model // 4 // n_head,
        d_mlp=width,
    )


SIZES = Matched(Block, shapes)
