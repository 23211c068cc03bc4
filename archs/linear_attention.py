"""Linear attention: a product of features in place of softmax, so that the whole past is one sum.

    o_t = Σ_{s<=t} φ(q_t)·φ(k_s) v_s / Σ_{s<=t} φ(q_t)·φ(k_s) = S_tᵀ φ(q_t) / z_t·φ(q_t)
    S_t = S_{t-1} + φ(k_t) v_tᵀ        z_t = z_{t-1} + φ(k_t)        φ(x) = elu(x) + 1

Katharopoulos et al., Transformers are RNNs  https://arxiv.org/abs/2006.16236
State: D (D / H + 1) numbers a layer; z is a column of S whose values are 1. Order is seen only
through what a token follows: there are no places.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops.gated_linear_attention import gated_linear_attention, gated_linear_attention_flops
from archs._sizes import Matched

EPS = 1e-6  # the authors' own, beside the sum that is divided by


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    n_head: int
    d_mlp: int


class State(NamedTuple):
    s_BHNK: Tensor  # S, and z its last column


class Mixer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        D, H = config.d_model, config.n_head
        if D % H:
            raise ValueError(f"n_head={H} does not divide d_model={D}")
        self.kernel, self.n_head, self.d_head = config.kernel, H, D // H
        self.inputs = nn.Linear(D, 3 * D, bias=False)
        self.out = nn.Linear(D, D, bias=False)

    def init_state(self, batch: int, max_len: int) -> State:
        dtype = torch.promote_types(self.out.weight.dtype, torch.float32)
        shape = (batch, self.n_head, self.d_head, self.d_head + 1)
        return State(self.out.weight.new_zeros(shape, dtype=dtype))

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        s_BHNK = self.init_state(len(x_BTD), 0).s_BHNK if state is None else state.s_BHNK
        heads = self.inputs(x_BTD).unflatten(-1, (3, self.n_head, self.d_head))
        q_BTHN, k_BTHN, v_BTHK = heads.unbind(2)
        q_BTHN, k_BTHN = F.elu(q_BTHN) + 1, F.elu(k_BTHN) + 1
        v_BTHK = F.pad(v_BTHK, (0, 1), value=1.0)
        nothing_fades = s_BHNK.new_zeros(()).expand(*q_BTHN.shape[:3], 1)
        y_BTHK, s_BHNK = gated_linear_attention(
            q_BTHN, k_BTHN, v_BTHK, nothing_fades, s_BHNK, kernel=self.kernel
        )
        y_BTHK = y_BTHK[..., :-1] / (y_BTHK[..., -1:] + EPS)
        y_BTD = self.out(y_BTHK.flatten(2).to(x_BTD.dtype))
        return y_BTD, None if state is None else State(s_BHNK)

    def flops(self, tokens: int, past: int) -> float:
        N = self.d_head
        return self.n_head * gated_linear_attention_flops(N, N + 1, 1, tokens)


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


def shapes(size):
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        n_head=size.n_head,
        vocab_size=size.vocab_size,
        d_mlp=width,
    )


SIZES = Matched(Block, shapes)
