"""Hawk: Griffin without its attention, a gated linear recurrence in every layer.

    a_t = exp(-8 r_t softplus(Λ))        h_t = a_t h_{t-1} + √(1 - a_t²) (i_t x_t)

The gates r and i, the convolution before and the MLP behind are `griffin`'s. State: E (1 + 3)
numbers a layer.

De et al., Griffin  https://arxiv.org/abs/2402.19427, section 2.4
"""

from dataclasses import replace

from archs import griffin
from archs._sizes import Matched
from archs.griffin import Block, Config, RecurrentState

State = RecurrentState
__all__ = ["SIZES", "Block", "Config", "State"]


def shapes(size):
    for config_of in griffin.shapes(size):
        yield lambda width, config_of=config_of: replace(
            config_of(width), n_layer=size.n_layer, pattern="r"
        )


SIZES = Matched(Block, shapes)
