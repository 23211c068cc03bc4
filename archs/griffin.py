"""Griffin: two gated linear recurrences, then attention to a window, over and over.

    r_t, i_t = σ(W x_t + b), W in blocks on the diagonal        a_t = exp(-8 r_t softplus(Λ))
    h_t = a_t h_{t-1} + √(1 - a_t²) (i_t x_t)                   x after a short convolution
    out = W_o (h_t ∘ GELU(W_y u_t))

The attention is `swa`'s with one key/value head; an MLP gated by GELU follows every mixer. State:
E (1 + 3) numbers a recurrence, 2 K min(T, window) an attention.

De et al., Griffin  https://arxiv.org/abs/2402.19427, equations 1 to 6; without RecurrentGemma's
exception, by which a sequence's first token enters h whole.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine, swa
from archs._ops import last
from archs._ops.linear_scan import linear_scan
from archs._ops.short_conv import short_conv
from archs._sizes import Matched

SHARPNESS = 8.0  # the paper's c


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    n_head: int
    d_inner: int
    d_mlp: int
    window: int
    pattern: str = "rra"  # a letter a layer, from the start again when it ends
    n_block: int = 16  # of the gates' weights
    d_conv: int = 4


class RecurrentState(NamedTuple):
    tail_BWE: Tensor  # the convolution's last inputs
    h_BE: Tensor


State = RecurrentState | swa.State


class Recurrence(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.kernel, E, blocks = config.kernel, config.d_inner, config.n_block
        if E % blocks:
            raise ValueError(f"n_block={blocks} does not divide d_inner={E}")
        width = E // blocks
        self.inputs = nn.Linear(config.d_model, 2 * E, bias=False)
        self.conv = nn.Conv1d(E, E, config.conv_width(config.d_conv), groups=E)
        # of r and i side by side, for each block of channels
        self.weight_gates = nn.Parameter(torch.randn(blocks, width, 2 * width) * width**-0.5)
        self.bias_gates = nn.Parameter(torch.zeros(blocks, 1, 2 * width))
        # a_t where r_t is 1, uniform in [0.9, 0.999]
        decay_E = -torch.empty(E).uniform_(0.9, 0.999).log() / SHARPNESS
        self.decay_E = nn.Parameter(torch.expm1(decay_E).log())  # softplus⁻¹
        self.out = nn.Linear(E, config.d_model, bias=False)

    def init_state(self, batch: int, max_len: int) -> RecurrentState:
        E, _, width = self.conv.weight.shape
        zeros = self.out.weight.new_zeros
        dtype = torch.promote_types(self.out.weight.dtype, torch.float32)
        return RecurrentState(zeros(batch, width - 1, E), zeros(batch, E, dtype=dtype))

    def gates(self, x_BTE: Tensor) -> tuple[Tensor, Tensor]:
        """r and i before their σ."""
        blocks = len(self.weight_gates)
        x = x_BTE.flatten(0, 1).unflatten(-1, (blocks, -1)).transpose(0, 1)
        both = torch.baddbmm(self.bias_gates, x, self.weight_gates).transpose(0, 1)
        return tuple(gate.reshape(x_BTE.shape) for gate in both.chunk(2, dim=-1))

    def forward(
        self, u_BTD: Tensor, state: RecurrentState | None
    ) -> tuple[Tensor, RecurrentState | None]:
        tail_BWE, h_BE = self.init_state(len(u_BTD), 0) if state is None else state
        x_BTE, y_BTE = self.inputs(u_BTD).chunk(2, dim=-1)
        x_BTE, tail_BWE = short_conv(
            x_BTE, self.conv.weight, self.conv.bias, tail_BWE, kernel=self.kernel
        )
        # the recurrence runs in float32 or wider: decays near 1 need it
        r_BTE, i_BTE = (gate.to(h_BE.dtype).sigmoid() for gate in self.gates(x_BTE))
        log_a_BTE = -SHARPNESS * F.softplus(self.decay_E.to(h_BE.dtype)) * r_BTE
        scale_BTE = (-torch.expm1(2 * log_a_BTE)).sqrt()
        h_BTE = linear_scan(log_a_BTE.exp(), scale_BTE * i_BTE * x_BTE, h_BE, kernel=self.kernel)
        y_BTE = h_BTE.to(u_BTD.dtype) * F.gelu(y_BTE, approximate="tanh")
        after = None if state is None else RecurrentState(tail_BWE, last(h_BTE))
        return self.out(y_BTE), after

    def flops(self, tokens: int, past: int) -> float:
        # the gates; √(1 - a²) i x, and the multiply-add of the recurrence
        return 2 * self.weight_gates.numel() + 4 * len(self.decay_E)


def attention(config: Config) -> swa.Attention:
    return swa.Attention(config.d_model, config.n_head, 1, config.kernel, config.window)


MIXERS = {"r": Recurrence, "a": attention}


class Block(_spine.MixerMLP):
    gated = _spine.GeGLU

    def __init__(self, config: Config, layer: int) -> None:
        letter = config.pattern[layer % len(config.pattern)]
        super().__init__(config, MIXERS[letter](config))


def shapes(size):
    """The paper's recurrence of 4/3 d_model; three layers at least, so that one is attention. The
    window is d_model tokens: as many layers of `swa` at this size see."""
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=max(3, size.n_layer),
        n_head=size.n_head,
        vocab_size=size.vocab_size,
        d_inner=max(16, size.d_model * 4 // 3 // 16 * 16),
        d_mlp=width,
        window=size.d_model,
    )


SIZES = Matched(Block, shapes)
