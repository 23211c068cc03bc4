"""Sliding-window attention against a mask over the whole past, far beyond the window."""

import pytest
import torch

from archs._ops.attention import Cache, rope
from archs._ops.window import Ring, empty_ring, window_attention, window_flops, window_traffic

WINDOW, LENGTH = 8, 43
H, J, K = 4, 2, 6


@pytest.fixture
def qkv():
    torch.manual_seed(0)
    q_BHTK = torch.randn(2, H, LENGTH, K, dtype=torch.float64)
    return q_BHTK, *torch.randn(2, 2, J, LENGTH, K, dtype=torch.float64)


def masked(q, k, v):
    """Token t sees s where t - WINDOW < s <= t, written out."""
    place = torch.arange(LENGTH)
    distance = place[:, None] - place[None]
    k, v = (x.repeat_interleave(H // J, dim=1) for x in (k, v))
    scores = torch.einsum("bhtk,bhsk->bhts", q, k) / K**0.5
    scores[..., (distance < 0) | (distance >= WINDOW)] = -torch.inf
    return torch.einsum("bhts,bhsk->bhtk", scores.softmax(-1), v)


@pytest.mark.parametrize("kernel", ["auto", "plain"])
@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize(
    "cuts", [[43], [1] * 43, [7, 1, 35], [8, 35], [20, 1, 1, 1, 20], [16, 16, 11]], ids=str
)
def test_any_cut_is_the_mask_over_the_whole(qkv, cuts, static, kernel, monkeypatch):
    monkeypatch.setattr(Cache, "is_static", property(lambda cache: static))
    ring = empty_ring(qkv[0], 2, J, LENGTH, K, WINDOW)
    parts = []
    for q, k, v in zip(*(x.split(cuts, dim=2) for x in qkv), strict=True):
        y, ring = window_attention(q, k, v, ring, WINDOW, kernel)
        parts.append(y)
    assert isinstance(ring, Ring) and ring.k_BJSK.shape[2] == WINDOW and ring.position == LENGTH
    torch.testing.assert_close(torch.cat(parts, dim=2), masked(*qkv))
    whole, none = window_attention(*qkv, None, WINDOW, kernel)
    assert none is None
    torch.testing.assert_close(whole, masked(*qkv))


def test_a_short_ring_is_a_cache_and_refuses_what_it_has_no_room_for(qkv):
    q, k, v = (x[:, :, :5] for x in qkv)
    ring = empty_ring(q, 2, J, 5, K, WINDOW)
    y, ring = window_attention(q, k, v, ring, WINDOW)
    torch.testing.assert_close(y, masked(*qkv)[:, :, :5])
    with pytest.raises(ValueError, match="a cache of 5 tokens cannot hold 6; make it with max_len"):
        window_attention(*(x[:, :, :1] for x in (q, k, v)), ring, WINDOW)


def test_places_go_on_where_rows_start_anew(qkv, monkeypatch):
    """A static ring's rotation is that of the token's place, not of its row."""
    q = qkv[0]
    expected = rope(q, None)
    monkeypatch.setattr(Cache, "is_static", property(lambda cache: True))
    for place in (0, 7, 8, 42):
        ring = empty_ring(q, 2, J, LENGTH, K, WINDOW)._replace(position=torch.tensor(place))
        seen = rope(q[:, :, place : place + 1], ring)
        torch.testing.assert_close(seen, expected[:, :, place : place + 1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("tokens", "past"), [(5, 0), (43, 0), (1, 3), (1, 30), (20, 4), (3, 40)])
def test_flops_and_bytes_are_those_of_the_mask(tokens, past):
    seen = [min(place + 1, WINDOW) for place in range(past, past + tokens)]
    # two products of two FLOPs, K long, a head and pair
    assert window_flops(H, K, tokens, past, WINDOW) == pytest.approx(4 * H * K * sum(seen) / tokens)
    ring = empty_ring(torch.empty(0), 3, J, LENGTH, K, WINDOW)
    rows = min(past, WINDOW - 1) + min(tokens, WINDOW)
    moved = rows * 2 * 3 * J * K * 4 + 8 * (2 if past else 1)
    assert window_traffic(ring, tokens, past, WINDOW) == moved
