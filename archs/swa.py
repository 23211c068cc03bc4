"""Sliding-window attention: Llama that sees the last `window` tokens only.

    x += W_o softmax(R_t q (R_s k)ᵀ / √K) v over t - window < s <= t
    x += W_down (SiLU(W_gate x) ∘ W_up x)

What lies further back reaches a token through the layers, `window` tokens a layer. State: keys and
values of min(T, window) tokens, 2 J K numbers each.

Jiang et al., Mistral 7B    https://arxiv.org/abs/2310.06825
Beltagy et al., Longformer  https://arxiv.org/abs/2004.05150
"""

from dataclasses import dataclass

from torch import Tensor

from archs import _spine, llama
from archs._ops.window import Ring as State
from archs._ops.window import empty_ring, window_attention, window_flops, window_traffic
from archs._sizes import Matched


@dataclass(frozen=True, kw_only=True)
class Config(llama.Config):
    window: int


class Attention(llama.Attention):
    def __init__(self, d_model: int, n_head: int, n_kv_head: int, kernel: str, window: int) -> None:
        super().__init__(d_model, n_head, n_kv_head, kernel)
        self.window = window

    def init_state(self, batch: int, max_len: int) -> State:
        return empty_ring(self.out.weight, batch, self.n_kv_head, max_len, self.d_head, self.window)

    def attend(
        self, q_BHTK: Tensor, k_BJTK: Tensor, v_BJTK: Tensor, state: State | None
    ) -> tuple[Tensor, State | None]:
        return window_attention(q_BHTK, k_BJTK, v_BJTK, state, self.window, self.kernel)

    def flops(self, tokens: int, past: int) -> float:
        return window_flops(self.n_head, self.d_head, tokens, past, self.window)

    def state_traffic(self, batch: int, tokens: int, past: int) -> int:
        return window_traffic(self.init_state(batch, 1), tokens, past, self.window)


class Block(_spine.MixerMLP):
    def __init__(self, config: Config, layer: int) -> None:
        mixer = Attention(
            config.d_model, config.n_head, config.n_kv_head, config.kernel, config.window
        )
        super().__init__(config, mixer)


def shapes(size):
    """A window of d_model tokens, as Mistral 7B's 4,096."""
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        n_head=size.n_head,
        n_kv_head=size.n_head // 2,
        vocab_size=size.vocab_size,
        d_mlp=width,
        window=size.d_model,
    )


SIZES = Matched(Block, shapes)
