"""Causal softmax attention, and the key/value cache it keeps of everything it has read.

The cache's position may be a CPU tensor, whose value shapes the call (the cheapest in eager mode,
and never a device synchronization), or a device tensor, for which decode has one static shape over
the whole cache, so that it can be captured in a CUDA graph.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from archs._ops import Kernel, Op, _sdpa
from archs._ops._places import places


def is_static(position: Tensor) -> bool:
    """Whether the shapes of a call must not depend on the position's value."""
    return position.device.type != "cpu" or torch.compiler.is_compiling()


def start(position: Tensor, tokens: int, rows: int) -> int:
    """The position as a number, for a call of `tokens` that a cache of `rows` is to hold."""
    if torch.compiler.is_compiling() and tokens == rows:
        return 0  # what fills the cache begins it, and a compiler cannot read the tensor
    return int(position)


class Cache(NamedTuple):
    k_BJSK: Tensor
    v_BJSK: Tensor
    position: Tensor  # int64, tokens already read; rows past it are not yet written

    @property
    def is_static(self) -> bool:
        return is_static(self.position)

    @property
    def holds_all(self) -> bool:
        """Whether every place that was read has a row, so that rows bound the position."""
        return True


def empty_cache(like: Tensor, batch: int, n_kv_head: int, max_len: int, d_head: int) -> Cache:
    k_BJSK = like.new_zeros(batch, n_kv_head, max_len, d_head)
    return Cache(k_BJSK, torch.zeros_like(k_BJSK), torch.zeros((), dtype=torch.int64, device="cpu"))


def _rotation(place_T: Tensor, d_head: int, theta: float) -> Tensor:
    """The cosines and sines of the angles at each place, (2, T, d_head / 2), in float32."""
    exponent = torch.arange(0, d_head, 2, dtype=torch.float32, device=place_T.device) / d_head
    angle = place_T.float()[:, None] * theta**-exponent
    return torch.stack([angle.cos(), angle.sin()])


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # a table first made while decoding may later be trained through
def _rope_table(length: int, d_head: int, theta: float, device: torch.device) -> Tensor:
    """The rotation of every place below the next power of two after `length`: one table serves all
    layers and a range of lengths."""
    rows = 1 << (length - 1).bit_length()
    return _rotation(torch.arange(rows, device=device), d_head, theta)


@lru_cache(maxsize=1)
@torch.inference_mode(False)
def _rope_rows(
    start: int, T: int, d_head: int, theta: float, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """The table's rows of one call, (2, T, d_head / 2): the same for every layer."""
    return _rope_table(start + T, d_head, theta, device)[:, start : start + T].to(dtype)


def _rope_of_call(x_BHTK: Tensor, cache: Cache | None, theta: float) -> Tensor:
    T, K = x_BHTK.shape[2:]
    unbounded = cache is not None and cache.is_static and not cache.holds_all
    # a compiler fuses arithmetic better than it reads tables
    if torch.compiler.is_compiling() or unbounded:
        place_T = torch.arange(T, device=x_BHTK.device)
        return _rotation(place_T if cache is None else place_T + cache.position, K, theta)
    if cache is not None and cache.is_static:
        table = _rope_table(cache.k_BJSK.shape[2], K, theta, x_BHTK.device)
        return table[:, torch.arange(T, device=x_BHTK.device) + cache.position]
    if cache is None and (place_T := places()) is not None:
        return _rotation(place_T, K, theta)
    begin = 0 if cache is None else int(cache.position)
    return _rope_rows(begin, T, K, theta, x_BHTK.device, x_BHTK.dtype)


def _turned(x_BHTK: Tensor, rotation: Tensor) -> Tensor:
    cos, sin = rotation.to(x_BHTK.dtype)
    low, high = x_BHTK.chunk(2, dim=-1)
    return torch.cat([low * cos - high * sin, high * cos + low * sin], dim=-1)


def rotated(x_BHTK: Tensor, place_T: Tensor, theta: float = 10_000.0) -> Tensor:
    """`rope` of tokens at these places."""
    return _turned(x_BHTK, _rotation(place_T, x_BHTK.shape[-1], theta))


def rope(x_BHTK: Tensor, cache: Cache | None, theta: float = 10_000.0) -> Tensor:
    """Rotate each pair (k, k + K/2) by an angle that grows with the token's place in the sequence.

    Su et al., RoFormer  https://arxiv.org/abs/2104.09864, in Llama's pairing. The call's tokens
    stand after those in the cache.
    """
    return _turned(x_BHTK, _rope_of_call(x_BHTK, cache, theta))


def _plain(
    q_BHTK: Tensor, k_BJSK: Tensor, v_BJSK: Tensor, causal: bool, seen_TS: Tensor | None
) -> Tensor:
    shared_by = q_BHTK.shape[1] // k_BJSK.shape[1]
    k_BHSK, v_BHSK = (v.repeat_interleave(shared_by, dim=1) for v in (k_BJSK, v_BJSK))
    scores_BHTS = q_BHTK @ k_BHSK.mT * q_BHTK.shape[-1] ** -0.5
    if causal:
        seen_TS = torch.ones_like(scores_BHTS[0, 0], dtype=torch.bool).tril_()
    if seen_TS is not None:
        scores_BHTS = scores_BHTS.masked_fill(~seen_TS, -torch.inf)
    return scores_BHTS.softmax(-1).to(v_BHSK.dtype) @ v_BHSK


# (q_BHTK, k_BJSK, v_BJSK, causal, seen_TS) → (B, H, T, K); causal: token t sees keys 0 to t, so
# T = S; seen_TS: which keys each token sees, None for all; J divides H
softmax_attention = Op(
    "attention", *_sdpa.BACKENDS, Kernel("sdpa", _sdpa.sdpa), Kernel("plain", _plain)
)


def hold(position: Tensor, *rows: tuple[Tensor, Tensor]) -> tuple[list[Tensor], Tensor | None]:
    """Write a call's rows into caches, (cache, new) each, along their axis 2.

    Returns what is held so far, and which of it each token sees (T, S); None where that is all that
    is not ahead of it. Raises ValueError if a cache has no room for the call.
    """
    (cache, new), *_ = rows
    T, S = new.shape[2], cache.shape[2]
    if is_static(position) and T == 1:
        for cache, new in rows:
            cache.index_copy_(2, position.view(1), new.to(cache.dtype))
        seen_TS = torch.arange(S, device=position.device)[None] <= position
        return [cache for cache, _ in rows], seen_TS

    begin = start(position, T, S)
    end = begin + T
    if end > S:
        raise ValueError(f"a cache of {S} tokens cannot hold {end}; make it with max_len={end}")
    for cache, new in rows:
        cache[:, :, begin:end] = new
    seen_TS = None
    if begin > 0 and T > 1:
        seen_TS = torch.ones(T, end, dtype=torch.bool, device=new.device).tril_(begin)
    return [cache[:, :, :end] for cache, _ in rows], seen_TS


def attention(
    q_BHTK: Tensor, k_BJTK: Tensor, v_BJTK: Tensor, cache: Cache | None, kernel: str = "auto"
) -> tuple[Tensor, Cache | None]:
    """Each token attends to itself and all before it, this call's and the cache's.

    Raises ValueError if the cache has no room for the call.
    """
    if cache is None:
        return softmax_attention(q_BHTK, k_BJTK, v_BJTK, True, None, kernel=kernel), None
    T, rows = q_BHTK.shape[2], ((cache.k_BJSK, k_BJTK), (cache.v_BJSK, v_BJTK))
    (k_BJSK, v_BJSK), seen_TS = hold(cache.position, *rows)
    causal = T > 1 and seen_TS is None
    y_BHTK = softmax_attention(q_BHTK, k_BJSK, v_BJSK, causal, seen_TS, kernel=kernel)
    return y_BHTK, cache._replace(position=cache.position + T)


def attention_flops(n_head: int, d_head: int, tokens: int, past: int) -> float:
    """Forward FLOPs a token of QKᵀ and PV: two products over the mean number of tokens seen."""
    return 4 * n_head * d_head * (past + (tokens + 1) / 2)
