"""GPT-2: every token attends to all before it; places are learned, LayerNorm and GELU throughout.

    x += W_o softmax(q kᵀ / √K) v        x += W_2 GELU(W_1 x)

Radford et al., Language Models are Unsupervised Multitask Learners, 2019.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops._places import places
from archs._ops.attention import Cache as State
from archs._ops.attention import attention, attention_flops, empty_cache
from archs._sizes import Matched

LayerNorm = partial(nn.LayerNorm, eps=_spine.EPS)


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    n_head: int
    d_mlp: int
    max_len: int = 1024


class Block(_spine.Block):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, layer)
        self.kernel = config.kernel
        self.n_head, self.d_head = config.n_head, config.d_model // config.n_head
        if layer == 0:
            # the residual stack starts with the tokens' places
            self.positions = nn.Embedding(config.max_len, config.d_model)
            nn.init.normal_(self.positions.weight, std=0.01)
        else:
            self.positions = None
        self.mix_norm = LayerNorm(config.d_model)
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model)
        self.out = nn.Linear(config.d_model, config.d_model)
        self.mlp_norm = LayerNorm(config.d_model)
        self.up = nn.Linear(config.d_model, config.d_mlp)
        self.down = nn.Linear(config.d_mlp, config.d_model)
        for linear in (self.qkv, self.out, self.up, self.down):
            nn.init.zeros_(linear.bias)

    @staticmethod
    def final_norm(config: Config) -> nn.Module:
        return LayerNorm(config.d_model)

    def init_state(self, batch: int, max_len: int) -> State:
        return empty_cache(self.out.weight, batch, self.n_head, max_len, self.d_head)

    def place(self, x_BTD: Tensor, state: State | None) -> Tensor:
        T, rows = x_BTD.shape[1], len(self.positions.weight)
        if state is not None and state.is_static:
            return x_BTD + self.positions(state.position + torch.arange(T, device=x_BTD.device))
        if state is None and (place_T := places()) is not None:
            return x_BTD + self.positions(place_T)
        start = 0 if state is None else int(state.position)
        if start + T > rows:
            raise ValueError(
                f"gpt2 has places for {rows} tokens and was given {start + T}; "
                f"build it with max_len={start + T} or more"
            )
        return x_BTD + self.positions.weight[start : start + T]

    def forward(self, x_BTD: Tensor, state: State | None) -> tuple[Tensor, State | None]:
        if self.positions is not None:
            x_BTD = self.place(x_BTD, state)
        B, T, D = x_BTD.shape
        heads = self.qkv(self.mix_norm(x_BTD)).view(B, T, 3, self.n_head, self.d_head)
        q_BHTK, k_BHTK, v_BHTK = heads.permute(2, 0, 3, 1, 4)
        y_BHTK, state = attention(q_BHTK, k_BHTK, v_BHTK, state, self.kernel)
        x_BTD = x_BTD + self.out(y_BHTK.transpose(1, 2).reshape(B, T, D))
        hidden = F.gelu(self.up(self.mlp_norm(x_BTD)), approximate="tanh")
        return x_BTD + self.down(hidden), state

    def mixer_flops(self, tokens: int, past: int) -> float:
        return attention_flops(self.n_head, self.d_head, tokens, past)


def shapes(size):
    """The yardstick itself: d_mlp = 4 d_model meets the budget exactly."""
    yield lambda width: Config(
        d_model=size.d_model,
        n_layer=size.n_layer,
        n_head=size.n_head,
        vocab_size=size.vocab_size,
        d_mlp=width,
    )


def published(d_model: int, n_layer: int, n_head: int, vocab_size: int, max_len: int) -> Config:
    return Config(
        d_model=d_model,
        n_layer=n_layer,
        n_head=n_head,
        vocab_size=vocab_size,
        max_len=max_len,
        d_mlp=4 * d_model,
    )


# GPT-1 normalised after each branch, and its stack not at all; every other layer of GPT-3 attends
# in a sparse pattern: these are their widths and depths with this block. Brown et al., table 2.1
# https://arxiv.org/abs/2005.14165, whose 1.3b has heads, and 13b a width, that no 128 divides
PRESETS = {
    "gpt1-117m": published(768, 12, 12, 40_478, 512),
    "gpt2-124m": published(768, 12, 12, 50_257, 1024),
    "gpt2-355m": published(1024, 24, 16, 50_257, 1024),
    "gpt2-774m": published(1280, 36, 20, 50_257, 1024),
    "gpt2-1.5b": published(1600, 48, 25, 50_257, 1024),
    "gpt3-125m": published(768, 12, 12, 50_257, 2048),
    "gpt3-350m": published(1024, 24, 16, 50_257, 2048),
    "gpt3-760m": published(1536, 24, 16, 50_257, 2048),
    "gpt3-1.3b": published(2048, 24, 16, 50_257, 2048),
    "gpt3-2.7b": published(2560, 32, 32, 50_257, 2048),
    "gpt3-6.7b": published(4096, 32, 32, 50_257, 2048),
    "gpt3-13b": published(5120, 40, 40, 50_257, 2048),
    "gpt3-175b": published(12_288, 96, 96, 50_257, 2048),
}
SIZES = Matched(Block, shapes, presets=PRESETS)
