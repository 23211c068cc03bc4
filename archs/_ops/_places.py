"""Where the tokens of a call stand when they are not the first of their sequence, in order.

Where processes share a sequence each trains on a part of it, and torch's context parallel lets
attention, and nothing else, see the rest. What depends on a token's place has to ask here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

_places: ContextVar[Tensor | None] = ContextVar("places", default=None)


@contextmanager
def standing_at(place_T: Tensor) -> Iterator[None]:
    """Calls without a state inside are of the tokens at these places, int64."""
    token = _places.set(place_T)
    try:
        yield
    finally:
        _places.reset(token)


def places() -> Tensor | None:
    """Those of a call without a state; None: 0, 1, 2, …"""
    return None if torch.compiler.is_compiling() else _places.get()
