"""DeltaNet: linear attention that first takes out what it holds under a key, then writes the new.

    S_t = (I - β_t k_t k_tᵀ) S_{t-1} + β_t k_t v_tᵀ        β_t = σ(W_β x_t)
    o_t = S_tᵀ q_t / √N        y = W_o norm(o), the norm over each head
    q, k, v by W x, a short convolution and SiLU, q and k then of length 1

Yang et al., Parallelizing Linear Transformers with the Delta Rule  https://arxiv.org/abs/2406.06484
State: D²/H numbers a layer, and the convolution's last three inputs.
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


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_mlp: int
    d_head: int = 128
    d_conv: int = 4

    @property
    def n_head(self) -> int:
        return self.d_model // self.d_head


class State(NamedTuple):
    tail_BWE: Tensor  # the convolution's last inputs
    s_BHNK: Tensor


class Mixer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        D, H = config.d_model, config.n_head
        if D % config.d_head:
            raise ValueError(f"d_head={config.d_head} does not divide d_model={D}")
        self.kernel, self.n_head, self.d_head = config.kernel, H, config.d_head
        self.inputs = nn.Linear(D, 3 * D + H, bias=False)
        width = config.conv_width(config.d_conv)
        self.conv = nn.Conv1d(3 * D, 3 * D, width, groups=3 * D, bias=False)
        self.norm = _spine.RMSNorm(config.d_head, config.kernel)
        self.out = nn.Linear(D, D, bias=False)

    def init_state(self, batch: int, max_len: int) -> State:
        channels, _, width = self.conv.weight.shape
        zeros = self.out.weight.new_zeros
        dtype = torch.promote_types(self.out.weight.dtype, torch.float32)
        s_BHNK = zeros(batch, self.n_head, self.d_head, self.d_head, dtype=dtype)
        return State(zeros(batch, width - 1, channels), s_BHNK)

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        tail_BWE, s_BHNK = self.init_state(len(x_BTD), 0) if state is None else state
        qkv_BTE, beta_BTH = self.inputs(x_BTD).split((len(self.conv.weight), self.n_head), dim=-1)
        qkv_BTE, tail_BWE = short_conv(
            qkv_BTE, self.conv.weight, None, tail_BWE, kernel=self.kernel
        )
        heads = F.silu(qkv_BTE).unflatten(-1, (3, self.n_head, self.d_head))
        q_BTHN, k_BTHN, v_BTHK = heads.unbind(2)
        q_BTHN, beta_BTH1 = unit(q_BTHN) * self.d_head**-0.5, beta_BTH.sigmoid()[..., None]
        nothing_fades = s_BHNK.new_zeros(()).expand(beta_BTH1.shape)
        y_BTHK, s_BHNK = gated_delta_rule(
            *(q_BTHN, unit(k_BTHN), v_BTHK, beta_BTH1, nothing_fades, s_BHNK), kernel=self.kernel
        )
        y_BTD = self.out(self.norm(y_BTHK.to(x_BTD.dtype)).flatten(2))
        return y_BTD, None if state is None else State(tail_BWE, s_BHNK)

    def flops(self, tokens: int, past: int) -> float:
        return self.n_head * gated_delta_rule_flops(self.d_head, self.d_head, tokens)


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


def shapes(size):
    """The paper's heads of 128, but four at least."""
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        vocab_size=size.vocab_size,
        d_head=min(128, size.d_model // 4),
        d_mlp=width,
    )


SIZES = Matched(Block, shapes)
