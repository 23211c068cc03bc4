"""Every public module in this folder is one architecture; its file name is its name.

One from outside is known once it was `add`ed, under a name that none here has.
"""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType

from archs._spine import LanguageModel

_outside: dict[str, Callable[[], ModuleType]] = {}


def names() -> list[str]:
    """The architectures at hand: one for each file whose name has no leading underscore."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def add(arch: str, module: Callable[[], ModuleType]) -> None:
    """Know an architecture from outside, whose module is got by a call once it is asked for."""
    _outside[arch] = module


def added() -> list[str]:
    return sorted(_outside)


def load(arch: str) -> ModuleType:
    """The architecture's file. Raises ValueError, naming those there are, if it is unknown."""
    if arch in _outside:
        return _outside[arch]()
    if arch not in names():
        raise ValueError(f"no architecture {arch!r}; archs/ holds {', '.join(names())}")
    return importlib.import_module(f"archs.{arch}")


def default_size(arch: str, usual: str) -> str:
    """The usual one, or the first of an architecture that has sizes of its own only."""
    sizes = load(arch).SIZES
    return usual if usual in sizes else next(iter(sizes))


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
