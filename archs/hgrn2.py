"""HGRN2: a gated linear RNN, its state a matrix, where what is kept and what is new add to one.

    S_t = diag(f_t) S_{t-1} + (1 - f_t) v_tᵀ        o_t = S_tᵀ q_t        q = SiLU(W_q x), v = W_v x
    f_t = β + (1 - β) σ(W_f x_t)        y = W_o norm(o)

Qin et al., HGRN2: Gated Linear RNNs with State Expansion  https://arxiv.org/abs/2404.07904
State: D N numbers a layer. The bounds β below which no gate falls are 0 in the first layer and rise
with depth. The paper's are a sum over one softmax of all layers; a Block knows no other, so here
each is learned for itself, from where those start: l / L in layer l.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops.gated_linear_attention import gated_linear_attention, gated_linear_attention_flops
from archs._sizes import Matched


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_mlp: int
    d_state: int = 128  # of each of D channels, which is the width of a head too

    @property
    def n_head(self) -> int:
        return self.d_model // self.d_state


class State(NamedTuple):
    s_BHNK: Tensor


class Mixer(nn.Module):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        D = config.d_model
        if D % config.d_state:
            raise ValueError(f"d_state={config.d_state} does not divide d_model={D}")
        self.kernel, self.n_head, self.d_state = config.kernel, config.n_head, config.d_state
        self.inputs = nn.Linear(D, 3 * D, bias=False)
        self.bound_D = None
        if layer > 0:  # σ⁻¹(β)
            bound = math.log(layer / (config.n_layer - layer))
            self.bound_D = nn.Parameter(torch.full((D,), bound))
        self.norm = _spine.RMSNorm(D, config.kernel)
        self.out = nn.Linear(D, D, bias=False)

    def init_state(self, batch: int, max_len: int) -> State:
        shape = (batch, self.n_head, self.d_state, self.d_state)
        dtype = torch.promote_types(self.out.weight.dtype, torch.float32)
        return State(self.out.weight.new_zeros(shape, dtype=dtype))

    def log_forget(self, f_BTD: Tensor) -> Tensor:
        g_BTD = F.logsigmoid(f_BTD)
        if self.bound_D is None:
            return g_BTD
        bound_D = self.bound_D.to(f_BTD.dtype)
        return torch.logaddexp(F.logsigmoid(bound_D), F.logsigmoid(-bound_D) + g_BTD)

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        s_BHNK = self.init_state(len(x_BTD), 0).s_BHNK if state is None else state.s_BHNK
        q_BTD, f_BTD, v_BTD = self.inputs(x_BTD).chunk(3, dim=-1)
        g_BTD = self.log_forget(f_BTD.to(s_BHNK.dtype))
        k_BTD = -torch.expm1(g_BTD).to(x_BTD.dtype)
        q_BTHN, k_BTHN, v_BTHK, g_BTHN = (
            x.unflatten(-1, (self.n_head, -1)) for x in (F.silu(q_BTD), k_BTD, v_BTD, g_BTD)
        )
        y_BTHK, s_BHNK = gated_linear_attention(
            q_BTHN, k_BTHN, v_BTHK, g_BTHN, s_BHNK, kernel=self.kernel
        )
        y_BTD = self.out(self.norm(y_BTHK.flatten(2).to(x_BTD.dtype)))
        return y_BTD, None if state is None else State(s_BHNK)

    def flops(self, tokens: int, past: int) -> float:
        N = self.d_state
        return self.n_head * gated_linear_attention_flops(N, N, N, tokens)


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config, layer))


def shapes(size):
    """The paper's 128, but four heads at least."""
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        vocab_size=size.vocab_size,
        d_state=min(128, size.d_model // 4),
        d_mlp=width,
    )


SIZES = Matched(Block, shapes)
