"""Hybrid: Mamba-2 with an attention layer now and then, for what a fixed-size state cannot hold.

    layer i is the i-th letter of the pattern, which begins anew when it ends:
    m Mamba-2, a attention, w attention to a window, r Griffin's recurrence

`hybrid` is `mmma`; `hybrid:PATTERN`, such as `hybrid:mmmw`, is any other. State: each layer's own.

Lieber et al., Jamba                                   https://arxiv.org/abs/2403.19887
Waleffe et al., An Empirical Study of Mamba-based LMs  https://arxiv.org/abs/2406.07887
"""

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace

from archs import _spine, griffin, llama, mamba2, swa
from archs._sizes import Matched

PATTERN = "mmma"
State = llama.State | mamba2.State | swa.State | griffin.RecurrentState


@dataclass(frozen=True, kw_only=True)
class Config(mamba2.Config):
    n_attention_head: int
    window: int
    pattern: str
    n_block: int = 16  # of the gates' weights in Griffin's recurrence


def attention(config: Config) -> llama.Attention:
    heads = config.n_attention_head
    return llama.Attention(config.d_model, heads, heads // 2, config.kernel)


def window_attention(config: Config) -> swa.Attention:
    heads = config.n_attention_head
    return swa.Attention(config.d_model, heads, heads // 2, config.kernel, config.window)


WIDE = {"m": mamba2.Mixer, "r": griffin.Recurrence}  # their width meets the budget
MIXERS = WIDE | {"a": attention, "w": window_attention}


class Block(_spine.MixerOnly):
    def __init__(self, config: Config, layer: int) -> None:
        letter = config.pattern[layer % len(config.pattern)]
        super().__init__(config, MIXERS[letter](config))


def config_of(size, n_layer: int, pattern: str):
    return lambda width: Config(
        d_model=size.d_model,
        n_layer=n_layer,
        vocab_size=size.vocab_size,
        d_inner=width,
        d_head=mamba2.head_width(size),
        d_state=min(128, size.d_model // 2),
        n_attention_head=size.n_head,
        window=size.d_model,
        pattern=pattern,
    )


def shapes(size):
    """A model of fewer layers than letters keeps the last, so that one is attention."""
    for n_layer in mamba2.depths(size):
        yield config_of(size, n_layer, PATTERN[-n_layer:])


def sizes(shapes) -> Matched:
    return Matched(Block, shapes, lambda size: [mamba2.head_width(size)])


SIZES = sizes(shapes)


@cache
def of(pattern: str) -> SimpleNamespace:
    """What `hybrid:PATTERN` names. Raises ValueError on a pattern that has no meaning or size."""
    if not set(pattern) <= MIXERS.keys() or not set(pattern) & WIDE.keys():
        raise ValueError(
            f"hybrid:{pattern} is no pattern; its letters are {', '.join(MIXERS)}, "
            f"at least one of them {' or '.join(WIDE)}"
        )

    def shapes(size):
        depths = mamba2.depths(size)
        for n_layer in [n for n in depths if n >= len(pattern)] or [len(pattern)]:
            yield config_of(size, n_layer, pattern)

    return SimpleNamespace(Block=Block, Config=Config, State=State, SIZES=sizes(shapes))
