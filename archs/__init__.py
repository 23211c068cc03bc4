"""Every public module in this folder is one architecture; its file name is its name.

One from outside is known once it was `add`ed, under a name that none here has.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

from archs._sizes import Matched
from archs._spine import LanguageModel

# measured where they are asked for: with them, a default sweep would take several times as long
ON_REQUEST = (
    "bert",
    "deltanet",
    "diff_transformer",
    "gated_deltanet",
    "gla",
    "griffin",
    "hawk",
    "hgrn2",
    "hyena",
    "linear_attention",
    "mamba3",
    "mla",
    "mlstm",
    "moe",
    "retnet",
    "rwkv7",
    "slstm",
    "swa",
)
_outside: dict[str, Callable[[], ModuleType]] = {}


def names() -> list[str]:
    """The architectures at hand: one for each file whose name has no leading underscore."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def usual() -> list[str]:
    """What is measured unless names are given: one or two of each family, and any new file."""
    return [name for name in names() if name not in ON_REQUEST]


def add(arch: str, module: Callable[[], ModuleType]) -> None:
    """Know an architecture from outside, whose module is got by a call once it is asked for."""
    _outside[arch] = module


def added() -> list[str]:
    return sorted(_outside)


def load(arch: str) -> Any:
    """The architecture's file, or what it makes `of` the text behind a colon, as in `hybrid:mma`.

    Raises ValueError, naming those there are, if it is unknown, or if the text means nothing to it.
    """
    if arch in _outside:
        return _outside[arch]()
    name, colon, text = arch.partition(":")
    if name not in names():
        raise ValueError(f"no architecture {name!r}; archs/ holds {', '.join(names())}")
    module = importlib.import_module(f"archs.{name}")
    if not colon:
        return module
    if not hasattr(module, "of"):
        raise ValueError(f"{arch}: {name} is one architecture only; ask for {name}")
    return module.of(text)


def is_causal(arch: str) -> bool:
    """Whether a token's output depends on those before it alone; a file that says CAUSAL = False
    is an encoder, which has neither a state nor a perplexity."""
    return getattr(load(arch), "CAUSAL", True)


def default_size(arch: str, usual: str) -> str:
    """The usual one, or the first of an architecture that has sizes of its own only."""
    sizes = load(arch).SIZES
    return usual if usual in sizes else next(iter(sizes))


def d_model(arch: str, size: str) -> int:
    """How wide the residual stream is."""
    sizes = load(arch).SIZES
    width: int = sizes.d_model(size) if isinstance(sizes, Matched) else sizes[size].d_model
    return width


def build(
    arch: str,
    size: str,
    *,
    max_len: int | None = None,
    vocab_size: int | None = None,
    kernel: str = "auto",
    short_conv: bool | None = None,
) -> LanguageModel:
    """The model `arch` at `size`, on the default device in the default dtype, with fresh weights,
    or with a checkpoint's, whose tables keep their sizes.

    `max_len` resizes a learned position table; an architecture without one ignores it.
    `short_conv` is Config's: True puts a convolution ahead of mixers without one, False takes
    away an architecture's own.
    Raises ValueError if the architecture or the size is unknown.
    """
    module = load(arch)
    if size not in module.SIZES:
        raise ValueError(f"{arch} has no size {size!r}; it has {', '.join(module.SIZES)}")
    config = replace(module.SIZES[size], kernel=kernel, short_conv=short_conv)
    if config.tokenizer is None:  # weights that exist have the tables they have
        if vocab_size is not None:
            config = replace(config, vocab_size=vocab_size)
        if max_len is not None and config.max_len is not None:
            config = replace(config, max_len=max_len)
    return config.model(module.Block)
