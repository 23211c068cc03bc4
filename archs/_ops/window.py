"""Softmax attention to a window of the last tokens, and the ring of keys and values it keeps.

A sequence longer than the window is cut into blocks as long as it, each of which sees itself and
the block before: work and memory are linear in T. The ring's rows are written over in turn, so
that it stops growing at the window; softmax does not mind their order.

Beltagy et al., Longformer, section 3.1  https://arxiv.org/abs/2004.05150
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from archs._ops import Kernel, Op, _sdpa, attention
from archs._ops.attention import Cache, empty_cache


class Ring(Cache):
    """A Cache of the last rows only: the token at place p is in row p mod S."""

    @property
    def holds_all(self) -> bool:
        return False


def empty_ring(
    like: Tensor, batch: int, n_kv_head: int, max_len: int, d_head: int, window: int
) -> Ring:
    return Ring(*empty_cache(like, batch, n_kv_head, min(max_len, window), d_head))


def _band(tokens: int, keys: int, window: int, device: torch.device) -> Tensor:
    """(T, S), True where a key is one of the `window` that end with the token's own."""
    past = keys - tokens
    seen_TS = torch.ones(tokens, keys, dtype=torch.bool, device=device).tril_(past)
    return seen_TS.triu_(past - window + 1)


def _blocked(
    q_BHTK: Tensor, k_BJSK: Tensor, v_BJSK: Tensor, window: int, seen_S: Tensor | None
) -> Tensor:
    B, H, T, K = q_BHTK.shape
    past = k_BJSK.shape[2] - T
    if T == 1 and past < window:
        return _sdpa.sdpa(
            q_BHTK, k_BJSK, v_BJSK, False, None if seen_S is None else seen_S[None, :]
        )
    # what has no whole block before it sees the past in its place
    head = min(T, window)
    end, seen_TS = past + head, None
    if past:
        seen_TS = _band(head, end, window, q_BHTK.device)
        seen_TS = seen_TS if seen_S is None else seen_TS & seen_S[:end]
    y_BHTK = _sdpa.sdpa(
        q_BHTK[:, :, :head], k_BJSK[:, :, :end], v_BJSK[:, :, :end], past == 0, seen_TS
    )
    if head == T:
        return y_BHTK

    pad, blocks = -T % window, -(-T // window)

    def folded(x: Tensor) -> Tensor:
        """(B, H, T, K) to (B, blocks, H, window, K)."""
        return F.pad(x, (0, 0, 0, pad)).unflatten(2, (blocks, window)).transpose(1, 2)

    k, v = (folded(x[:, :, past:]) for x in (k_BJSK, v_BJSK))
    k, v = (torch.cat([x[:, :-1], x[:, 1:]], dim=3).flatten(0, 1) for x in (k, v))
    seen_TS = _band(window, 2 * window, window, q_BHTK.device)
    rest = _sdpa.sdpa(folded(q_BHTK)[:, 1:].flatten(0, 1), k, v, False, seen_TS)
    rest = rest.view(B, blocks - 1, H, window, K).transpose(1, 2).flatten(2, 3)
    return torch.cat([y_BHTK, rest[:, :, : T - head]], dim=2)


def _plain(
    q_BHTK: Tensor, k_BJSK: Tensor, v_BJSK: Tensor, window: int, seen_S: Tensor | None
) -> Tensor:
    seen_TS = _band(q_BHTK.shape[2], k_BJSK.shape[2], window, q_BHTK.device)
    seen_TS = seen_TS if seen_S is None else seen_TS & seen_S
    return attention._plain(q_BHTK, k_BJSK, v_BJSK, False, seen_TS)


# (q_BHTK, k_BJSK, v_BJSK, window, seen_S) → (B, H, T, K); the tokens are the last T of the S keys,
# and each sees itself and the window - 1 before it; seen_S: which keys there are, None for all
windowed = Op("window_attention", Kernel("blocked", _blocked), Kernel("plain", _plain))


def window_attention(
    q_BHTK: Tensor,
    k_BJTK: Tensor,
    v_BJTK: Tensor,
    ring: Ring | None,
    window: int,
    kernel: str = "auto",
) -> tuple[Tensor, Ring | None]:
    """Each token attends to itself and the `window` - 1 before it, this call's and the ring's.

    Raises ValueError if the ring is shorter than the window and has no room for the call.
    """
    if ring is None:
        return windowed(q_BHTK, k_BJTK, v_BJTK, window, None, kernel=kernel), None
    T, rows, device = q_BHTK.shape[2], ring.k_BJSK.shape[2], q_BHTK.device
    if ring.is_static:
        start, past = ring.position, rows
    else:
        start = int(ring.position)
        past = min(start, window - 1)
        end = start + T
        if rows < window and end > rows:
            raise ValueError(
                f"a cache of {rows} tokens cannot hold {end}; make it with max_len={end}"
            )
    if T == 1:
        y_BHTK = _decode(q_BHTK, k_BJTK, v_BJTK, ring, start, window, kernel)
        return y_BHTK, ring._replace(position=ring.position + 1)

    place_S = start - past + torch.arange(past, device=device)
    k_BJSK, v_BJSK = (
        torch.cat([old[:, :, place_S % rows], new], dim=2)
        for old, new in ((ring.k_BJSK, k_BJTK), (ring.v_BJSK, v_BJTK))
    )
    seen_S = F.pad(place_S >= 0, (0, T), value=True) if ring.is_static else None
    y_BHTK = windowed(q_BHTK, k_BJSK, v_BJSK, window, seen_S, kernel=kernel)
    kept = min(T, rows)  # of this call's tokens, the last
    written = (start + T - kept + torch.arange(kept, device=device)) % rows
    for cached, new in ((ring.k_BJSK, k_BJTK), (ring.v_BJSK, v_BJTK)):
        cached.index_copy_(2, written, new[:, :, T - kept :].to(cached.dtype))
    return y_BHTK, ring._replace(position=ring.position + T)


def _decode(
    q_BH1K: Tensor,
    k_BJ1K: Tensor,
    v_BJ1K: Tensor,
    ring: Ring,
    start: int | Tensor,
    window: int,
    kernel: str,
) -> Tensor:
    k_BJSK, v_BJSK, _ = ring
    row, rows = start % k_BJSK.shape[2], k_BJSK.shape[2]
    if ring.is_static:
        k_BJSK.index_copy_(2, row.view(1), k_BJ1K.to(k_BJSK.dtype))
        v_BJSK.index_copy_(2, row.view(1), v_BJ1K.to(v_BJSK.dtype))
        seen_S = torch.arange(rows, device=row.device) <= start
        return windowed(q_BH1K, k_BJSK, v_BJSK, window, seen_S, kernel=kernel)
    k_BJSK[:, :, row : row + 1] = k_BJ1K
    v_BJSK[:, :, row : row + 1] = v_BJ1K
    k_BJSK, v_BJSK = k_BJSK[:, :, : start + 1], v_BJSK[:, :, : start + 1]
    return windowed(q_BH1K, k_BJSK, v_BJSK, window, None, kernel=kernel)


def window_flops(n_head: int, d_head: int, tokens: int, past: int, window: int) -> float:
    """Forward FLOPs a token of QKᵀ and PV over the mean number of tokens seen, itself included."""
    growing = min(tokens, max(0, window - past))
    seen = growing * past + growing * (growing + 1) / 2 + (tokens - growing) * window
    return 4 * n_head * d_head * seen / tokens


def window_traffic(ring: Ring, tokens: int, past: int, window: int) -> int:
    """Fewest bytes of a ring that a call must move: rows seen are read, those that stay written."""
    row_bytes = ring.k_BJSK[:, :, 0].nbytes + ring.v_BJSK[:, :, 0].nbytes
    rows = min(past, window - 1) + min(tokens, window)
    return rows * row_bytes + ring.position.nbytes * (2 if past else 1)
