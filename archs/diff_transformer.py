"""Differential transformer: Llama whose attention is the difference of two, so that noise cancels.

    y = norm((softmax(q₁ k₁ᵀ / √K) - λ softmax(q₂ k₂ᵀ / √K)) v) (1 - λ₀)        x += W_o y
    λ = exp(λ_q1 · λ_k1) - exp(λ_q2 · λ_k2) + λ₀        λ₀ = 0.8 - 0.6 exp(-0.3 layer)
    x += W_down (SiLU(W_gate x) ∘ W_up x)

State: keys and values of every token, 2 J K numbers, as Llama's.

Ye et al., Differential Transformer  https://arxiv.org/abs/2410.05258
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops.attention import Cache as State
from archs._ops.attention import hold, rope
from archs._ops.differential_attention import differential_attention
from archs._sizes import Matched
from archs.llama import Config


class Attention(nn.Module):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__()
        H, J, self.kernel = config.n_head, config.n_kv_head, config.kernel
        self.n_head, self.n_kv_head, self.d_head = H, J, config.d_model // H
        if config.d_model % (2 * H) or H % J or J % 2:
            raise ValueError(
                f"d_model={config.d_model} must divide into n_head={H} heads of even width, "
                f"and n_kv_head={J}, an even number, must divide n_head"
            )
        self.qkv = nn.Linear(config.d_model, (H + 2 * J) * self.d_head, bias=False)
        self.out = nn.Linear(config.d_model, config.d_model, bias=False)
        self.lambda_0 = 0.8 - 0.6 * math.exp(-0.3 * layer)
        self.lambda_q = nn.Parameter(torch.randn(2, self.d_head) * 0.1)
        self.lambda_k = nn.Parameter(torch.randn(2, self.d_head) * 0.1)

    def init_state(self, batch: int, max_len: int) -> State:
        J, K = self.n_kv_head, self.d_head
        zeros = self.out.weight.new_zeros
        return State(
            zeros(batch, J, max_len, K),
            zeros(batch, J // 2, max_len, 2 * K),
            torch.zeros((), dtype=torch.int64, device="cpu"),
        )

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        B, T, D = x_BTD.shape
        H, J = self.n_head, self.n_kv_head
        placed, v_BTE = self.qkv(x_BTD).split(((H + J) * self.d_head, J * self.d_head), dim=-1)
        placed = rope(placed.view(B, T, H + J, self.d_head).transpose(1, 2), state)
        q_BHTK, k_BJSK = placed.split((H, J), dim=1)
        v_BMSW, seen_TS = v_BTE.view(B, T, J // 2, -1).transpose(1, 2), None
        if state is not None:
            rows = (state.k_BJSK, k_BJSK), (state.v_BJSK, v_BMSW)
            (k_BJSK, v_BMSW), seen_TS = hold(state.position, *rows)
            state = state._replace(position=state.position + T)
        products = (self.lambda_q * self.lambda_k).sum(-1).exp()
        scale = (products[0] - products[1] + self.lambda_0).to(x_BTD.dtype)
        causal = T > 1 and seen_TS is None
        y = differential_attention(
            q_BHTK, k_BJSK, v_BMSW, scale, causal, seen_TS, kernel=self.kernel
        )
        y = F.rms_norm(y.transpose(1, 2), y.shape[-1:], eps=_spine.EPS)
        return self.out(y.reshape(B, T, D) * (1 - self.lambda_0)), state

    def flops(self, tokens: int, past: int) -> float:
        """Each map's scores, K wide, and its sum of values, 2 K wide, over the tokens seen."""
        return 6 * self.n_head * self.d_head * (past + (tokens + 1) / 2)


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Attention(config, layer))


def shapes(size):
    """As many heads as Llama, half of them for each map, which is the paper's count."""
    heads = size.n_head + size.n_head % 2
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        n_head=heads,
        n_kv_head=max(2, heads // 4 * 2),
        vocab_size=size.vocab_size,
        d_mlp=width,
    )


SIZES = Matched(Block, shapes)
