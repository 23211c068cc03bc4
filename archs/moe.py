"""Mixture of experts: Llama whose MLP is, for each token, the likeliest few of many.

    p = the greatest `n_active` of softmax(W_r x), over their sum
    x += Σ p_i W_down,i (SiLU(W_gate,i x) ∘ W_up,i x)

No loss balances the experts' loads, and no token is dropped. Parameters are matched in total, so
that it takes the memory of the others and computes with fewer: FLOPs count the active experts only.
`moe` has 8 experts and 2 active; `moe:16:4` has 16 and 4. State: Llama's.

Jiang et al., Mixtral of Experts  https://arxiv.org/abs/2401.04088
"""

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from archs import llama
from archs._ops.experts import experts
from archs._sizes import Matched
from archs.llama import State

N_EXPERT, N_ACTIVE = 8, 2


@dataclass(frozen=True, kw_only=True)
class Config(llama.Config):
    n_expert: int
    n_active: int


class Experts(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.kernel, self.n_active = config.kernel, config.n_active
        X, D, E = config.n_expert, config.d_model, config.d_mlp
        self.router = nn.Linear(D, X, bias=False)
        self.weight_up = nn.Parameter(torch.empty(X, 2 * E, D).uniform_(-(D**-0.5), D**-0.5))
        self.weight_down = nn.Parameter(torch.empty(X, D, E).uniform_(-(E**-0.5), E**-0.5))
        with torch.no_grad():  # as the spine's, of what writes into the residual stream
            self.weight_down.mul_((2 * config.n_layer) ** -0.5)

    def forward(self, x_BTD: Tensor) -> Tensor:
        wide = torch.promote_types(x_BTD.dtype, torch.float32)
        share_BTX = self.router(x_BTD).softmax(dim=-1, dtype=wide)
        share_BTA, chosen_BTA = share_BTX.topk(self.n_active, dim=-1)
        share_BTA = (share_BTA / share_BTA.sum(-1, keepdim=True)).to(x_BTD.dtype)
        weights = self.weight_up, self.weight_down
        return experts(x_BTD, chosen_BTA, share_BTA, *weights, kernel=self.kernel)

    def idle(self) -> float:
        """The share of experts that a token leaves out."""
        return 1 - self.n_active / len(self.weight_up)

    def flops(self) -> float:
        weights = self.weight_up.numel() + self.weight_down.numel()
        return 2 * weights * self.n_active / len(self.weight_up)


class Block(llama.Block):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, layer)
        self.mlp = Experts(config)

    def mixer_flops(self, tokens: int, past: int) -> float:
        return super().mixer_flops(tokens, past) + self.mlp.flops()

    def unread_bytes(self) -> int:
        """All tokens of a call may choose the same experts."""
        weights = self.mlp.weight_up.nbytes + self.mlp.weight_down.nbytes
        return super().unread_bytes() + round(weights * self.mlp.idle())


@cache
def of(text: str) -> SimpleNamespace:
    """What `moe:EXPERTS:ACTIVE` names. Raises ValueError unless they are two such numbers."""
    numbers = text.split(":")
    if len(numbers) != 2 or not all(map(str.isdecimal, numbers)):
        raise ValueError(f"moe:{text} is not moe:EXPERTS:ACTIVE, such as moe:8:2")
    n_expert, n_active = map(int, numbers)
    if not 0 < n_active <= n_expert:
        raise ValueError(f"moe:{text}: of {n_expert} experts 1 to {n_expert} can be active")

    def shapes(size):
        yield lambda width: Config(
            d_model=size.d_model,
            n_layer=size.n_layer,
            n_head=size.n_head,
            n_kv_head=size.n_head // 2,
            vocab_size=size.vocab_size,
            d_mlp=width,
            n_expert=n_expert,
            n_active=n_active,
        )

    sizes = Matched(Block, shapes, lambda size: (64, 32, 16, 8, 4, 2, 1))
    return SimpleNamespace(Block=Block, Config=Config, State=State, SIZES=sizes)


SIZES = of(f"{N_EXPERT}:{N_ACTIVE}").SIZES
