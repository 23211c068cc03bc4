"""BERT: an encoder. Every token attends to all, those after it too; each sum is normalised.

    x = LN(x + W_o softmax(q kᵀ / √K) v)        x = LN(x + W_2 GELU(W_1 x))

It is not causal: it has no state and writes no token, and a loss of it, at masked tokens from what
is on both sides, is no perplexity. Its head is the embedding's table alone. Built `causal`, the
same weights attend to no token after their own: what reading both ways is compared with.

Devlin et al., BERT  https://arxiv.org/abs/1810.04805
"""

from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import torch.nn.functional as F
from torch import Tensor, nn

from archs import _spine
from archs._ops.attention import attention_flops, softmax_attention
from archs._sizes import Matched

CAUSAL = False
State = None
LayerNorm = partial(nn.LayerNorm, eps=_spine.EPS)


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    n_head: int
    d_mlp: int
    max_len: int = 512
    causal: bool = False


class Block(_spine.Block):
    def __init__(self, config: Config, layer: int) -> None:
        super().__init__(config, layer)
        D, self.kernel, self.n_head = config.d_model, config.kernel, config.n_head
        self.causal = config.causal
        self.positions = self.place_norm = None
        if layer == 0:
            # the stack starts with the tokens' places
            self.positions = nn.Embedding(config.max_len, D)
            self.place_norm = LayerNorm(D)
        # not named as what writes into a residual stream: each sum is normalised, none is scaled
        self.qkv, self.mixed = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.mix_norm = LayerNorm(D)
        self.wide, self.narrow = nn.Linear(D, config.d_mlp), nn.Linear(config.d_mlp, D)
        self.mlp_norm = LayerNorm(D)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    @staticmethod
    def final_norm(config: Config) -> nn.Module:
        return nn.Identity()

    def init_state(self, batch: int, max_len: int) -> NoReturn:
        raise ValueError("an encoder reads a text at once; it has no state to go on from")

    def forward(self, x_BTD: Tensor, state: None) -> tuple[Tensor, None]:
        B, T, D = x_BTD.shape
        if self.positions is not None:
            rows = len(self.positions.weight)
            if rows < T:
                raise ValueError(
                    f"bert has places for {rows} tokens and was given {T}; "
                    f"build it with max_len={T} or more"
                )
            x_BTD = self.place_norm(x_BTD + self.positions.weight[:T])
        q, k, v = self.qkv(x_BTD).view(B, T, 3, self.n_head, -1).permute(2, 0, 3, 1, 4)
        y_BHTK = softmax_attention(q, k, v, self.causal, None, kernel=self.kernel)
        y_BTD = self.mixed(y_BHTK.transpose(1, 2).reshape(B, T, D))
        x_BTD = self.mix_norm(x_BTD + y_BTD)
        return self.mlp_norm(x_BTD + self.narrow(F.gelu(self.wide(x_BTD)))), None

    def mixer_flops(self, tokens: int, past: int) -> float:
        D = len(self.mixed.weight)
        if self.causal:
            return attention_flops(self.n_head, D // self.n_head, tokens, past)
        return 4 * D * tokens

    def state_traffic(self, batch: int, tokens: int, past: int) -> int:
        return 0


def of_shape(d_model: int, n_layer: int, n_head: int, vocab_size: int, d_mlp: int) -> Config:
    return Config(
        d_model=d_model, n_layer=n_layer, n_head=n_head, vocab_size=vocab_size, d_mlp=d_mlp
    )


def shapes(size):
    yield lambda width: of_shape(size.d_model, size.n_layer, size.n_head, size.vocab_size, width)


# without the pooler and the two kinds of segment
PRESETS = {
    "bert-base": of_shape(768, 12, 12, 30_522, 3072),
    "bert-large": of_shape(1024, 24, 16, 30_522, 4096),
}
SIZES = Matched(Block, shapes, presets=PRESETS)
