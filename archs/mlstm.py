"""mLSTM: xLSTM's matrix memory, written through an exponential input gate and read through a norm.

    C_t = f_t C_{t-1} + i_t k_t v_tᵀ        f_t = σ(W_f x_t + b_f)
    n_t = f_t n_{t-1} + i_t k_t             i_t = exp(W_i x_t + b_i)
    h_t = C_tᵀ q_t / max(|n_t·q_t|, 1)      y = W_o (σ(W_z x) ∘ norm(h)), the norm over each head

Beck et al., xLSTM                          https://arxiv.org/abs/2405.04517
Beck et al., xLSTM 7B, the block around it  https://arxiv.org/abs/2503.13427
State: D²/(2 H) numbers a layer in C, D / 2 in n, which is a column of it, and H in m. C and n are
kept divided by exp(m_t), m_t = max(log f_t + m_{t-1}, log i_t): linear attention that fades by
f_t exp(m_{t-1} - m_t), its keys scaled by i_t exp(-m_t), where no exponent is above 0.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops.gated_linear_attention import gated_linear_attention, gated_linear_attention_flops
from archs._sizes import Matched

GATE_CAP = 15.0  # no gate's argument lies beyond
NORM_EPS = 1e-6  # of each head: a fresh input gate, e^-10, writes next to nothing


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_mlp: int
    n_head: int = 4


class State(NamedTuple):
    c_BHNK: Tensor  # C, and n its last column
    m_BH: Tensor


class Mixer(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        D, H = config.d_model, config.n_head
        if D % (2 * H):
            raise ValueError(f"d_model={D} must divide into n_head={H} heads of even width")
        self.kernel, self.n_head = config.kernel, H
        self.split = (D // 2, D // 2, D, D)
        self.inputs = nn.Linear(D, sum(self.split), bias=False)
        self.gates = nn.Linear(D, 2 * H)
        self.scale_D = nn.Parameter(torch.ones(D))
        self.out = nn.Linear(D, D, bias=False)
        nn.init.zeros_(self.gates.weight)
        with torch.no_grad():
            self.gates.bias.copy_(torch.cat([torch.full((H,), -10.0), torch.linspace(3, 6, H)]))

    def init_state(self, batch: int, max_len: int) -> State:
        D, H = len(self.out.weight), self.n_head
        zeros = self.out.weight.new_zeros
        dtype = torch.promote_types(self.out.weight.dtype, torch.float32)
        c_BHNK = zeros(batch, H, D // 2 // H, D // H + 1, dtype=dtype)
        return State(c_BHNK, zeros(batch, H, dtype=dtype))

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        c_BHNK, m_BH = self.init_state(len(x_BTD), 0) if state is None else state
        q, k, v, z_BTD = self.inputs(x_BTD).split(self.split, dim=-1)
        q_BTHN, k_BTHN, v_BTHK = (x.unflatten(-1, (self.n_head, -1)) for x in (q, k, v))
        gates_BTG = GATE_CAP * torch.tanh(self.gates(x_BTD).to(m_BH.dtype) / GATE_CAP)
        i_BTH, f_BTH = gates_BTG.chunk(2, dim=-1)
        f_BTH = F.logsigmoid(f_BTH)
        m_BTH = running_max(i_BTH, f_BTH, m_BH)
        g_BTH = f_BTH + torch.cat([m_BH[:, None], m_BTH[:, :-1]], dim=1) - m_BTH
        k_BTHN = (k_BTHN * (i_BTH - m_BTH).exp()[..., None]).to(x_BTD.dtype)
        y_BTHK, c_BHNK = gated_linear_attention(
            *(q_BTHN * q_BTHN.shape[-1] ** -0.5, k_BTHN, F.pad(v_BTHK, (0, 1), value=1.0)),
            *(g_BTH[..., None], c_BHNK),
            kernel=self.kernel,
        )
        norm_BTH1 = torch.maximum(y_BTHK[..., -1:].abs(), (-m_BTH).exp()[..., None])
        h_BTHK = (y_BTHK[..., :-1] / norm_BTH1).to(x_BTD.dtype)
        h_BTD = F.layer_norm(h_BTHK, h_BTHK.shape[-1:], eps=NORM_EPS).flatten(2) * self.scale_D
        y_BTD = self.out(z_BTD.sigmoid() * h_BTD)
        return y_BTD, None if state is None else State(c_BHNK, m_BTH[:, -1].clone())

    def flops(self, tokens: int, past: int) -> float:
        K = len(self.out.weight) // self.n_head
        return self.n_head * gated_linear_attention_flops(K // 2, K + 1, 1, tokens)


@torch.no_grad()  # h does not depend on m
def running_max(i_BTH: Tensor, f_BTH: Tensor, m_BH: Tensor) -> Tensor:
    """m_t = max(f_t + m_{t-1}, i_t) for every t at once: F_t + max over s <= t of i_s - F_s, F the
    sums of f."""
    sum_BTH = f_BTH.cumsum(1)
    return sum_BTH + torch.maximum((i_BTH - sum_BTH).cummax(1).values, m_BH[:, None])


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Mixer(config))


def shapes(size):
    yield lambda width: Config(
        d_model=size.d_model, n_layer=size.n_layer, vocab_size=size.vocab_size, d_mlp=width
    )


SIZES = Matched(Block, shapes)
