"""RWKV-7: a delta rule whose rows fade, are taken out and are written at rates of their own.

    S_t = S_{t-1} (diag(w_t) - κ_tᵀ (a_t ∘ κ_t)) + v_tᵀ k̃_t        o_t = S_t r_tᵀ, of row vectors
    w = exp(-e^-½ σ(d))        κ = k ∘ ξ, then of length 1        k̃ = k ∘ (1 + (a - 1) ∘ α)
    y = W_o (g ∘ (norm(o) + (r ∘ ρ)·k̃ v)), the norm over each head; d, a, g by two thin matrices
    each projection sees x_t + (x_{t-1} - x_t) ∘ μ; so does the MLP, W_v relu(W_k x)²

Peng et al., RWKV-7 "Goose"  https://arxiv.org/abs/2503.14456
State: D (N + 2) numbers a layer. The residual of values to the first layer's is left out: a Block
sees no other. The start is the authors', but for matrices that they start at zero, past which no
gradient would come at first: those start as everywhere here.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops import last
from archs._ops._fla import LOWEST
from archs._ops.generalised_delta_rule import generalised_delta_rule, generalised_delta_rule_flops
from archs._sizes import Matched

LayerNorm = partial(nn.LayerNorm, eps=_spine.EPS)


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_mlp: int
    d_head: int = 64

    @property
    def n_head(self) -> int:
        return self.d_model // self.d_head

    def rank(self, factor: float) -> int:
        """Of two thin matrices: `factor` √D in multiples of 32."""
        return max(32, round(factor * self.d_model**0.5 / 32) * 32)


class State(NamedTuple):
    x_BD: Tensor  # the last token, as the mixer and the MLP saw it
    x_mlp_BD: Tensor
    s_BHNK: Tensor


def mixed(x_BTD: Tensor, before_BD: Tensor, *mu_D: Tensor) -> list[Tensor]:
    """x_t + (x_{t-1} - x_t) ∘ μ for each μ; `before` is the token ahead of the call."""
    change_BTD = torch.cat([before_BD[:, None], x_BTD[:, :-1]], dim=1) - x_BTD
    return [torch.addcmul(x_BTD, change_BTD, mu) for mu in mu_D]


class Thin(nn.Sequential):
    """W_2 f(W_1 x) + b."""

    def __init__(self, config: Config, factor: float, activation: nn.Module, bias: bool) -> None:
        D, rank = config.d_model, config.rank(factor)
        super().__init__(nn.Linear(D, rank, bias=False), activation, nn.Linear(rank, D, bias=bias))
        nn.init.orthogonal_(self[2].weight, gain=0.1)


class Mixer(nn.Module):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        D, H, N = config.d_model, config.n_head, config.d_head
        if D % N:
            raise ValueError(f"d_head={N} does not divide d_model={D}")
        self.kernel, self.n_head, self.d_head = config.kernel, H, N
        self.r, self.k, self.v = (nn.Linear(D, D, bias=False) for _ in range(3))
        for linear, spread in ((self.r, 0.5), (self.k, 0.05), (self.v, 0.5)):
            nn.init.uniform_(linear.weight, -spread * D**-0.5, spread * D**-0.5)
        self.decay = Thin(config, 2.5, nn.Tanh(), bias=True)
        self.rate = Thin(config, 2.5, nn.Identity(), bias=True)
        self.gate = Thin(config, 5, nn.Sigmoid(), bias=False)
        self.norm = nn.GroupNorm(H, D, eps=_spine.EPS * N)
        self.out = nn.Linear(D, D, bias=False)

        depth, left = layer / max(1, config.n_layer - 1), 1 - layer / config.n_layer
        channel_D = torch.arange(D) / D
        powers = torch.tensor([0.2, 0.9, 0.7, 0.7, 0.9, 0.2]) * left  # of r, w, k, v, a, g
        self.mu_6D = nn.Parameter(1 - channel_D ** powers[:, None])
        along_D = torch.arange(D) / (D - 1)
        within_D = torch.linspace(-1, 1, N).repeat(H)
        within_D = within_D * within_D.abs()
        self.xi_D = nn.Parameter(0.71 - 0.1 * (along_D - 0.5))
        self.alpha_D = nn.Parameter(torch.full((D,), 1.02))
        self.rho_HN = nn.Parameter(torch.full((H, N), -0.04))
        with torch.no_grad():
            self.decay[2].bias.copy_(6 * along_D ** (1 + depth**0.3) - 5.5 + 2.5 * within_D)
            self.rate[2].bias.copy_(-0.19 + 0.3 * within_D + 0.4 * (along_D - 0.5))

    def forward(
        self, x_BTD: Tensor, before_BD: Tensor, s_BHNK: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        x_r, x_w, x_k, x_v, x_a, x_g = mixed(x_BTD, before_BD, *self.mu_6D)
        g_BTD = LOWEST * self.decay(x_w).to(s_BHNK.dtype).sigmoid()
        k_BTD, a_BTD = self.k(x_k), self.rate(x_a).sigmoid()
        r, v, k, removed, a, g = (
            x.unflatten(-1, (self.n_head, self.d_head))
            for x in (
                *(self.r(x_r), self.v(x_v), k_BTD * (1 + (a_BTD - 1) * self.alpha_D)),
                *(k_BTD * self.xi_D, a_BTD, g_BTD),
            )
        )
        removed = F.normalize(removed, dim=-1)
        y_BTHK, s_BHNK = generalised_delta_rule(
            r, g, k, v, -removed, removed * a, s_BHNK, kernel=self.kernel
        )
        y_BTD = self.norm(y_BTHK.to(x_BTD.dtype).flatten(0, 1).flatten(1)).view_as(x_BTD)
        y_BTD = y_BTD + ((r * self.rho_HN * k).sum(-1, keepdim=True) * v).flatten(2)
        return self.out(y_BTD * self.gate(x_g)), last(x_BTD), s_BHNK


class MLP(nn.Module):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        D, left = config.d_model, 1 - layer / config.n_layer
        self.mu_D = nn.Parameter(1 - (torch.arange(D) / D) ** left**4)
        self.up = nn.Linear(D, config.d_mlp, bias=False)
        self.down = nn.Linear(config.d_mlp, D, bias=False)
        nn.init.uniform_(self.up.weight, -0.5 * D**-0.5, 0.5 * D**-0.5)

    def forward(self, x_BTD: Tensor, before_BD: Tensor) -> tuple[Tensor, Tensor]:
        (mixed_BTD,) = mixed(x_BTD, before_BD, self.mu_D)
        return self.down(self.up(mixed_BTD).relu().square()), last(x_BTD)


class Block(_spine.Block):
    final_norm = staticmethod(lambda config: LayerNorm(config.d_model))

    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, layer)
        self.embed_norm = LayerNorm(config.d_model) if layer == 0 else nn.Identity()
        self.mix_norm, self.mlp_norm = LayerNorm(config.d_model), LayerNorm(config.d_model)
        self.mixer, self.mlp = Mixer(config, layer), MLP(config, layer)

    def init_state(self, batch: int, max_len: int) -> State:
        H, N, out = self.mixer.n_head, self.mixer.d_head, self.mixer.out.weight
        dtype = torch.promote_types(out.dtype, torch.float32)
        x_BD = out.new_zeros(batch, len(out))
        return State(x_BD, torch.zeros_like(x_BD), out.new_zeros(batch, H, N, N, dtype=dtype))

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        before = self.init_state(len(x_BTD), 0) if state is None else state
        x_BTD = self.embed_norm(x_BTD)
        y_BTD, x_BD, s_BHNK = self.mixer(self.mix_norm(x_BTD), before.x_BD, before.s_BHNK)
        x_BTD = x_BTD + y_BTD
        y_BTD, x_mlp_BD = self.mlp(self.mlp_norm(x_BTD), before.x_mlp_BD)
        return x_BTD + y_BTD, None if state is None else State(x_BD, x_mlp_BD, s_BHNK)

    def mixer_flops(self, tokens: int, past: int) -> float:
        N = self.mixer.d_head
        return self.mixer.n_head * generalised_delta_rule_flops(N, N, tokens)


def shapes(size):
    """The paper's heads of 64, but four at least."""
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        vocab_size=size.vocab_size,
        d_head=min(64, size.d_model // 4),
        d_mlp=width,
    )


SIZES = Matched(Block, shapes)
