"""Multi-head latent attention: one narrow vector a token, from which every head makes its own.

    c_t = norm(W_c x_t)        k_t = [W_k c_t; R_t W_r x_t], the turned part shared by all heads
    q_t = [W_q x_t; R_t W_p x_t]        v_t = W_v c_t        x += W_o softmax(q kᵀ / √K) v
    x += W_down (SiLU(W_gate x) ∘ W_up x)

One token at a time W_k and W_v are taken over to the query and the output, W_kᵀ q and W_v Σ a c, so
that c is never expanded. State: c and the turned key, 4.5 K numbers a token at head width K.

DeepSeek-AI, DeepSeek-V2, section 2.1  https://arxiv.org/abs/2405.04434, without its compression of
the query, as its Lite version.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops import attention
from archs._ops.attention import hold, rope, softmax_attention
from archs._sizes import Matched


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    n_head: int
    d_mlp: int
    d_head: int
    d_latent: int
    d_rope: int


class State(NamedTuple):
    k_BJSK: Tensor  # latent, then turned key; J is 1
    position: Tensor  # int64, tokens already read

    @property
    def is_static(self) -> bool:
        return attention.is_static(self.position)

    @property
    def holds_all(self) -> bool:
        return True


class Attention(nn.Module):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.kernel, self.n_head = config.kernel, config.n_head
        self.d_head, self.d_latent, self.d_rope = config.d_head, config.d_latent, config.d_rope
        H, K = self.n_head, self.d_head
        self.q = nn.Linear(config.d_model, H * (K + self.d_rope), bias=False)
        self.compress = nn.Linear(config.d_model, self.d_latent + self.d_rope, bias=False)
        self.norm = _spine.RMSNorm(self.d_latent, config.kernel)
        self.expand = nn.Linear(self.d_latent, H * 2 * K, bias=False)
        self.out = nn.Linear(H * K, config.d_model, bias=False)

    def init_state(self, batch: int, max_len: int) -> State:
        k_BJSK = self.out.weight.new_zeros(batch, 1, max_len, self.d_latent + self.d_rope)
        return State(k_BJSK, torch.zeros((), dtype=torch.int64, device="cpu"))

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        B, T, _ = x_BTD.shape
        q_BHTK = self.q(x_BTD).unflatten(-1, (self.n_head, -1)).transpose(1, 2)
        q_BHTK, turned = q_BHTK.split((self.d_head, self.d_rope), dim=-1)
        latent_BTC, shared = self.compress(x_BTD).split((self.d_latent, self.d_rope), dim=-1)
        shared = rope(shared[:, None], state)
        latent_BTC = self.norm(latent_BTC.to(self.norm.weight.dtype)).to(shared.dtype)
        row_BJTK = torch.cat([latent_BTC[:, None], shared], dim=-1)
        held, seen_TS = row_BJTK, None
        if state is not None:
            (held,), seen_TS = hold(state.position, (state.k_BJSK, row_BJTK))
        attend = self.absorbed if state is not None and T == 1 else self.expanded
        y_BHTK = attend(q_BHTK, rope(turned, state), held, seen_TS)
        after = None if state is None else state._replace(position=state.position + T)
        return self.out(y_BHTK.transpose(1, 2).reshape(B, T, -1)), after

    def expanded(self, q_BHTK: Tensor, turned: Tensor, held: Tensor, seen_TS: Tensor | None):
        latent, shared = held.split((self.d_latent, self.d_rope), dim=-1)
        heads = self.expand(latent[:, 0]).unflatten(-1, (self.n_head, -1)).transpose(1, 2)
        k_BHSK, v_BHSK = heads.chunk(2, dim=-1)
        k_BHSK = torch.cat([k_BHSK, shared.expand(-1, self.n_head, -1, -1)], dim=-1)
        # fast attention takes values as wide as keys
        call = torch.cat([q_BHTK, turned], dim=-1), k_BHSK, F.pad(v_BHSK, (0, self.d_rope))
        y = softmax_attention(*call, seen_TS is None, seen_TS, kernel=self.kernel)
        return y[..., : self.d_head]

    def absorbed(self, q_BH1K: Tensor, turned: Tensor, held: Tensor, seen_TS: Tensor | None):
        weight_k, weight_v = self.expand.weight.unflatten(0, (self.n_head, -1)).chunk(2, dim=1)
        query = torch.cat([q_BH1K @ weight_k, turned], dim=-1)
        # the op divides by the root of the width it sees
        query = query * (query.shape[-1] / (self.d_head + self.d_rope)) ** 0.5
        y_BH1C = softmax_attention(query, held, held, False, seen_TS, kernel=self.kernel)
        return y_BH1C[..., : self.d_latent] @ weight_v.mT

    def flops(self, tokens: int, past: int) -> float:
        """Scores and sums over the tokens seen, of latents where there is one token; else of heads,
        which the past is expanded to again."""
        seen = past + (tokens + 1) / 2
        if tokens == 1:
            return 2 * self.n_head * (2 * self.d_latent + self.d_rope) * seen
        again = 2 * self.expand.weight.numel() * past / tokens
        return 2 * self.n_head * (2 * self.d_head + self.d_rope) * seen + again


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, Attention(config))


def shapes(size):
    """The paper's latent of four heads' width, of which half a head turns."""
    d_head = size.d_model // size.n_head
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        n_head=size.n_head,
        vocab_size=size.vocab_size,
        d_mlp=width,
        d_head=d_head,
        d_latent=4 * d_head,
        d_rope=d_head // 4 * 2,
    )


SIZES = Matched(Block, shapes)
