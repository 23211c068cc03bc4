"""Llama: rotary places, RMSNorm, SwiGLU, and fewer key/value heads than queries.

    x += W_o softmax(R_t q (R_s k)ᵀ / √K) v        x += W_down (SiLU(W_gate x) ∘ W_up x)

Touvron et al., Llama 2  https://arxiv.org/abs/2307.09288
Ainslie et al., GQA      https://arxiv.org/abs/2305.13245
"""

from dataclasses import dataclass

from torch import Tensor, nn

from archs import _spine
from archs._ops.attention import Cache as State
from archs._ops.attention import attention, attention_flops, empty_cache, rope
from archs._sizes import Matched


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    n_head: int
    n_kv_head: int
    d_mlp: int


class Attention(nn.Module):
    def __init__(self, d_model: int, n_head: int, n_kv_head: int, kernel: str) -> None:
        super().__init__()
        self.kernel = kernel
        if d_model % (2 * n_head) or n_head % n_kv_head:
            raise ValueError(
                f"d_model={d_model} must divide into n_head={n_head} heads of even width, "
                f"and n_kv_head={n_kv_head} must divide n_head"
            )
        self.n_head, self.n_kv_head, self.d_head = n_head, n_kv_head, d_model // n_head
        self.qkv = nn.Linear(d_model, (n_head + 2 * n_kv_head) * self.d_head, bias=False)
        self.out = nn.Linear(d_model, d_model, bias=False)

    def init_state(self, batch: int, max_len: int) -> State:
        return empty_cache(self.out.weight, batch, self.n_kv_head, max_len, self.d_head)

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        B, T, D = x_BTD.shape
        heads = self.qkv(x_BTD).view(B, T, -1, self.d_head).transpose(1, 2)
        placed, v_BJTK = heads.split((self.n_head + self.n_kv_head, self.n_kv_head), dim=1)
        q_BHTK, k_BJTK = rope(placed, state).split((self.n_head, self.n_kv_head), dim=1)
        y_BHTK, state = self.attend(q_BHTK, k_BJTK, v_BJTK, state)
        return self.out(y_BHTK.transpose(1, 2).reshape(B, T, D)), state

    def attend(
        self, q_BHTK: Tensor, k_BJTK: Tensor, v_BJTK: Tensor, state: State | None
    ) -> tuple[Tensor, State | None]:
        return attention(q_BHTK, k_BJTK, v_BJTK, state, self.kernel)

    def flops(self, tokens: int, past: int) -> float:
        return attention_flops(self.n_head, self.d_head, tokens, past)


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        mixer = Attention(config.d_model, config.n_head, config.n_kv_head, config.kernel)
        super().__init__(config, mixer)


def shapes(size):
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        n_head=size.n_head,
        n_kv_head=size.n_head // 2,
        vocab_size=size.vocab_size,
        d_mlp=width,
    )


def published(d_model: int, n_layer: int, n_head: int, n_kv_head: int, d_mlp: int) -> Config:
    return Config(
        d_model=d_model,
        n_layer=n_layer,
        n_head=n_head,
        n_kv_head=n_kv_head,
        d_mlp=d_mlp,
        vocab_size=32_000,
    )


# Llama 2, but for its head, which is here, as everywhere, the embedding's table
PRESETS = {
    "llama2-7b": published(4096, 32, 32, 32, 11_008),
    "llama2-13b": published(5120, 40, 40, 40, 13_824),
    "llama2-70b": published(8192, 80, 64, 8, 28_672),
}
SIZES = Matched(Block, shapes, presets=PRESETS)
