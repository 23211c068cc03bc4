"""The difference of two attentions to the same values: (softmax(q₁ k₁ᵀ) - λ softmax(q₂ k₂ᵀ)) v.

Ye et al., Differential Transformer, section 2.1  https://arxiv.org/abs/2410.05258
Heads of q and k come in two halves, one for each map; v has half as many, each twice as wide.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from archs._ops import Kernel, Op, _sdpa, attention


def _twice(v_BMSW: Tensor) -> Tensor:
    return torch.cat([v_BMSW, v_BMSW], dim=1)


def _difference(y_BHTW: Tensor, scale: Tensor) -> Tensor:
    first, second = y_BHTW.chunk(2, dim=1)
    return first - scale * second


def _padded(
    q_BHTK: Tensor,
    k_BJSK: Tensor,
    v_BMSW: Tensor,
    scale: Tensor,
    causal: bool,
    seen_TS: Tensor | None,
) -> Tensor:
    """One call of fast attention, which takes queries and keys as wide as values."""
    K = q_BHTK.shape[-1]
    q, k = F.pad(q_BHTK * 2**0.5, (0, K)), F.pad(k_BJSK, (0, K))
    return _difference(_sdpa.sdpa(q, k, _twice(v_BMSW), causal, seen_TS), scale)


def _one(q_BHTK: Tensor, *rest: object) -> bool:
    return q_BHTK.shape[2] == 1


def _rows(
    q_BHTK: Tensor,
    k_BJSK: Tensor,
    v_BMSW: Tensor,
    scale: Tensor,
    causal: bool,
    seen_TS: Tensor | None,
) -> Tensor:
    """Queries that share a key become its rows, and both maps' weights the rows of a value: a cache
    is read where it lies. For one token, which sees all that is seen."""
    (B, H, _, K), M = q_BHTK.shape, v_BMSW.shape[1]
    scores = q_BHTK.view(B, k_BJSK.shape[1], -1, K) @ k_BJSK.mT * K**-0.5
    if seen_TS is not None:
        scores = scores.masked_fill(~seen_TS, -torch.inf)
    weights = scores.softmax(-1).to(v_BMSW.dtype).unflatten(1, (2, M)).transpose(1, 2)
    y = (weights.flatten(2, 3) @ v_BMSW).unflatten(2, (2, -1)).transpose(1, 2)
    return _difference(y.reshape(B, H, 1, -1), scale)


def _plain(
    q_BHTK: Tensor,
    k_BJSK: Tensor,
    v_BMSW: Tensor,
    scale: Tensor,
    causal: bool,
    seen_TS: Tensor | None,
) -> Tensor:
    y = attention._plain(q_BHTK, k_BJSK, _twice(v_BMSW), causal, seen_TS)
    return _difference(y, scale)


# (q_BHTK, k_BJSK, v_BMSW, scale, causal, seen_TS) → (B, H / 2, T, W); as `attention`, with J = 2 M
# and W = 2 K; scale is λ
differential_attention = Op(
    "differential_attention",
    Kernel(
        "rows",
        _rows,
        suits=_one,
        refuses=lambda *call: None if _one(*call) else "it takes one token at a time",
    ),
    Kernel("padded", _padded),
    Kernel("plain", _plain),
)
