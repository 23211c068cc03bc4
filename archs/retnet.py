"""RetNet: linear attention whose past fades at a fixed rate, a different one in each head.

    S_t = γ S_{t-1} + k_t v_tᵀ        o_t = S_tᵀ q_t        γ = 1 - 2^(-5-h) in head h
    q and k turned by an angle that grows with their place; y = W_o (SiLU(W_g x) ∘ norm(o))

Sun et al., Retentive Network  https://arxiv.org/abs/2307.08621
State: 2 D²/H numbers a layer, and a place. Scores are not scaled down as in section 2.1, which the
norm of each head undoes; it is RMSNorm, as in the authors' code, whose initialisation this has too.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops.attention import rotated
from archs._ops.gated_linear_attention import gated_linear_attention, gated_linear_attention_flops
from archs._sizes import Matched


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    n_head: int
    d_mlp: int


class State(NamedTuple):
    s_BHNK: Tensor
    position: Tensor  # int64, tokens already read


class Mixer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        D, H = config.d_model, config.n_head
        if D % (2 * H):
            raise ValueError(f"d_model={D} must divide into n_head={H} heads of even width")
        self.kernel, self.n_head = config.kernel, H
        self.split = (D, D, 2 * D, 2 * D)
        self.inputs = nn.Linear(D, sum(self.split), bias=False)
        self.norm = _spine.RMSNorm(2 * D // H, config.kernel)
        self.out = nn.Linear(2 * D, D, bias=False)
        for part in self.inputs.weight.split(self.split):
            nn.init.xavier_uniform_(part, gain=2**-2.5)
        nn.init.xavier_uniform_(self.out.weight)

    def init_state(self, batch: int, max_len: int) -> State:
        D, H = self.split[0], self.n_head
        zeros = self.out.weight.new_zeros
        dtype = torch.promote_types(self.out.weight.dtype, torch.float32)
        s_BHNK = zeros(batch, H, D // H, 2 * D // H, dtype=dtype)
        return State(s_BHNK, zeros((), dtype=torch.int64))

    def log_decay_H(self, like: Tensor) -> Tensor:
        head_H = torch.arange(self.n_head, device=like.device, dtype=like.dtype)
        return torch.log1p(-torch.exp2(-5 - head_H))

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        B, T, D = x_BTD.shape
        s_BHNK, position = self.init_state(B, 0) if state is None else state
        q_BTD, k_BTD, v_BTE, z_BTE = self.inputs(x_BTD).split(self.split, dim=-1)
        place_T = position + torch.arange(T, device=x_BTD.device)
        q_BTHN, k_BTHN = (
            rotated(v.unflatten(-1, (self.n_head, -1)).transpose(1, 2), place_T).transpose(1, 2)
            for v in (q_BTD, k_BTD * (D // self.n_head) ** -0.5)
        )
        g_BTH1 = self.log_decay_H(s_BHNK)[:, None].expand(B, T, -1, 1)
        v_BTHK, z_BTHK = (v.unflatten(-1, (self.n_head, -1)) for v in (v_BTE, z_BTE))
        y_BTHK, s_BHNK = gated_linear_attention(
            q_BTHN, k_BTHN, v_BTHK, g_BTH1, s_BHNK, kernel=self.kernel
        )
        y_BTHK = F.silu(z_BTHK) * self.norm(y_BTHK.to(x_BTD.dtype))
        state = None if state is None else State(s_BHNK, position + T)
        return self.out(y_BTHK.flatten(2)), state

    def flops(self, tokens: int, past: int) -> float:
        N = self.split[0] // self.n_head
        return self.n_head * gated_linear_attention_flops(N, 2 * N, 1, tokens)


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


def shapes(size):
    """The paper's queries and keys of 256 a head, but four heads at least."""
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        n_head=max(4, size.d_model // 256),
        vocab_size=size.vocab_size,
        d_mlp=width,
    )


SIZES = Matched(Block, shapes)
