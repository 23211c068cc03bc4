"""GLA: linear attention whose rows each fade at a rate the token chooses.

    S_t = diag(α_t) S_{t-1} + k_t v_tᵀ        α_t = σ(W_2 W_1 x_t + b)^(1/16)
    o_t = S_tᵀ q_t / √N        y = W_o (SiLU(W_g x) ∘ norm(o)), the norm over each head

Yang et al., Gated Linear Attention Transformers  https://arxiv.org/abs/2312.06635
State: D²/(2 H) numbers a layer: keys are D / 2 wide.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops.gated_linear_attention import gated_linear_attention, gated_linear_attention_flops
from archs._sizes import Matched

GATE_RANK, GATE_ROOT = 16, 16  # W_1 is (16, D); decays of 1/2 become 0.96


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_mlp: int
    n_head: int = 4


class State(NamedTuple):
    s_BHNK: Tensor


class Mixer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        D, H = config.d_model, config.n_head
        if D % (2 * H):
            raise ValueError(f"d_model={D} must divide into n_head={H} heads of even width")
        self.kernel, self.n_head = config.kernel, H
        self.split = (D // 2, D // 2, D, D, GATE_RANK)
        self.inputs = nn.Linear(D, sum(self.split), bias=False)
        self.decay = nn.Linear(GATE_RANK, D // 2)
        self.norm = _spine.RMSNorm(D // H, config.kernel)
        self.out = nn.Linear(D, D, bias=False)

    def init_state(self, batch: int, max_len: int) -> State:
        D, H = len(self.out.weight), self.n_head
        dtype = torch.promote_types(self.out.weight.dtype, torch.float32)
        return State(self.out.weight.new_zeros(batch, H, D // 2 // H, D // H, dtype=dtype))

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        s_BHNK = self.init_state(len(x_BTD), 0).s_BHNK if state is None else state.s_BHNK
        q, k, v, z, low_BTR = self.inputs(x_BTD).split(self.split, dim=-1)
        g = F.logsigmoid(self.decay(low_BTR).to(s_BHNK.dtype)) / GATE_ROOT
        q_BTHN, k_BTHN, v_BTHK, z_BTHK, g_BTHN = (
            x.unflatten(-1, (self.n_head, -1)) for x in (q, k, v, z, g)
        )
        y_BTHK, s_BHNK = gated_linear_attention(
            *(q_BTHN * q_BTHN.shape[-1] ** -0.5, k_BTHN, v_BTHK, g_BTHN, s_BHNK), kernel=self.kernel
        )
        y_BTHK = F.silu(z_BTHK) * self.norm(y_BTHK.to(x_BTD.dtype))
        return self.out(y_BTHK.flatten(2)), None if state is None else State(s_BHNK)

    def flops(self, tokens: int, past: int) -> float:
        K = len(self.out.weight) // self.n_head
        return self.n_head * gated_linear_attention_flops(K // 2, K, K // 2, tokens)


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


def shapes(size):
    yield lambda width: Config(
        d_model=size.d_model, n_layer=size.n_layer, vocab_size=size.vocab_size, d_mlp=width
    )


SIZES = Matched(Block, shapes)
