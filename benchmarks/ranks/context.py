"""Which models can be trained on a part of every sequence, and where.

torch's context parallel lets F.scaled_dot_product_attention reach the tokens of other ranks, and
nothing else. A model with any other way to its past would train on, and on something else.
"""

import importlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import archs
from archs import LanguageModel
from archs._ops._places import standing_at

HALF = 24  # tokens; any number does that is longer than what a convolution sees


def why_not(device: str) -> str | None:
    """Why sequences cannot be shared on `device`, in a clause; None if they can."""
    if device != "cuda":
        return f"torch's context parallel has attention for CUDA, and the device is {device}"
    experimental = importlib.import_module("torch.distributed.tensor.experimental")
    if not hasattr(experimental, "context_parallel"):
        return f"torch {torch.__version__} has no context_parallel"
    return None


@cache
def can_be_cut(arch: str, short_conv: bool | None = None) -> bool:
    """Whether the halves of a sequence, apart but for attention, are the halves of the whole.

    Asked of the architecture's first size, with weights as they are drawn.
    """
    size = next(iter(archs.load(arch).SIZES))
    model = archs.build(arch, size, max_len=2 * HALF, short_conv=short_conv).double()
    vocab_size = model.config.vocab_size
    tokens_BT = torch.randint(vocab_size, (1, 2 * HALF), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole_BTD, _ = model(tokens_BT)
        return torch.allclose(in_halves(model, tokens_BT), whole_BTD)


def in_halves(model: LanguageModel, tokens_BT: Tensor) -> Tensor:
    """Hidden states (B, T, D) of both halves, read one after the other, where attention alone
    carries anything over."""
    kept: deque[tuple[Tensor, Tensor]] = deque()  # keys and values of each call of attention

    def first(attend: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **how: Any) -> Tensor:
        kept.append((k, v))
        return attend(q, k, v, *args, **how)

    def second(attend: Any, q: Tensor, k: Tensor, v: Tensor, *args: Any, **how: Any) -> Tensor:
        if not kept:
            return attend(q, k, v, *args, **how)
        k, v = (torch.cat(pair, dim=-2) for pair in zip(kept.popleft(), (k, v), strict=True))
        T, S = q.shape[-2], k.shape[-2]
        seen_TS = torch.ones(T, S, dtype=torch.bool).tril(S - T)
        return attend(q, k, v, seen_TS, enable_gqa=how.get("enable_gqa", False))

    halves, half = [], tokens_BT.shape[1] // 2
    for start, attention in ((0, first), (half, second)):
        with attending(attention), standing_at(torch.arange(start, start + half)):
            halves.append(model(tokens_BT[:, start : start + half])[0])
    return torch.cat(halves, dim=1)


@contextmanager
def attending(attention: Any) -> Iterator[None]:
    """`attention`, given torch's own, in its place, as context parallel puts its."""
    own = F.scaled_dot_product_attention
    F.scaled_dot_product_attention = lambda *args, **how: attention(own, *args, **how)
    try:
        yield
    finally:
        F.scaled_dot_product_attention = own
