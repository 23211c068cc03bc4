"""Hybrid: Mamba-2 with an attention layer now and then, for what a fixed-size state cannot hold.

    layer i is attention where i + 1 is a multiple of `attention_every`, else Mamba-2

Lieber et al., Jamba                                   https://arxiv.org/abs/2403.19887
Waleffe et al., An Empirical Study of Mamba-based LMs  https://arxiv.org/abs/2406.07887
"""

from dataclasses import dataclass

from archs import _spine, llama, mamba2
from archs._sizes import Matched

State = llama.State | mamba2.State


@dataclass(frozen=True, kw_only=True)
class Config(mamba2.Config):
    n_attention_head: int
    attention_every: int = 4


class Block(_spine.MixerOnly):
    def __init__(self, config: Config, layer: int) -> None:
        heads = config.n_attention_head
        if (layer + 1) % config.attention_every == 0:
            mixer = llama.Attention(config.d_model, heads, heads // 2, config.kernel)
        else:
            mixer = mamba2.Mixer(config)
        super().__init__(config, mixer)


def shapes(size):
    for n_layer in mamba2.depths(size):
        yield lambda width, n_layer=n_layer: Config(
            d_model=size.d_model,
            n_layer=n_layer,
            vocab_size=size.vocab_size,
            d_inner=width,
            d_head=mamba2.head_width(size),
            d_state=min(128, size.d_model // 2),
            n_attention_head=size.n_head,
            attention_every=min(4, n_layer),
        )


SIZES = Matched(Block, shapes, lambda size: [mamba2.head_width(size)])
