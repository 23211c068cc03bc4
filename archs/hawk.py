"""Hawk: Griffin without its attention, a gated linear recurrence in every layer.

The recurrence, its equations and its state of E (1 + 3) numbers a layer are `griffin`'s.

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
