"""Each op against the recurrence it stands for, written as a loop, in float64."""

import pytest
import torch
import torch.nn.functional as F

from archs._ops import attention, selective_scan, ssd
from archs._ops.attention import Cache
from archs._ops.linear_scan import linear_scan
from archs._ops.short_conv import short_conv


def doubles(*shape, low=None):
    values = torch.randn(*shape, dtype=torch.float64)
    return (values if low is None else low + values.abs()).requires_grad_()


def assert_same(seen, expected, leaves):
    """Values, and the gradient of a random projection of them in every leaf."""
    torch.testing.assert_close(seen, expected)
    pull = [torch.randn_like(value) for value in expected]
    mine = torch.autograd.grad(seen, leaves, pull, retain_graph=True)
    theirs = torch.autograd.grad(expected, leaves, pull)
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("length", [1, 2, 17, 64])
def test_linear_scan(length):
    torch.manual_seed(0)
    a, b, h = doubles(2, length, 5), doubles(2, length, 5), doubles(2, 5)
    decay = a.sigmoid()
    steps, state = [], h
    for t in range(length):
        state = decay[:, t] * state + b[:, t]
        steps.append(state)
    assert_same([linear_scan(decay, b, h)], [torch.stack(steps, 1)], [a, b, h])


@pytest.mark.parametrize("length", [1, 2, 17, 64])
def test_selective_scan(length, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(selective_scan, "CACHED_ELEMENTS", 2 * 3 * 5 * 8)  # blocks of 8 steps
    B, E, N = 2, 5, 3
    x, dt, a = doubles(B, length, E), doubles(B, length, E, low=0.1), doubles(E, N)
    b, c, h = doubles(B, length, N), doubles(B, length, N), doubles(B, N, E)
    decay_EN = -a.exp()
    steps, state = [], h
    for t in range(length):
        decay = torch.exp(dt[:, t, None] * decay_EN.T)
        state = decay * state + (dt[:, t] * x[:, t])[:, None] * b[:, t, :, None]
        steps.append((c[:, t, :, None] * state).sum(1))
    seen = selective_scan.selective_scan(x, dt, decay_EN, b, c, h)
    assert_same(list(seen), [torch.stack(steps, 1), state], [x, dt, a, b, c, h])


@pytest.mark.parametrize("length", [1, 2, 31, 32, 100])
def test_ssd(length):
    torch.manual_seed(0)
    B, H, K, N = 2, 3, 4, 5
    x, dt, a = doubles(B, length, H, K), doubles(B, length, H, low=0.1), doubles(H)
    b, c, h = doubles(B, length, N), doubles(B, length, N), doubles(B, N, H, K)
    steps, state = [], h
    for t in range(length):
        decay = torch.exp(dt[:, t] * -a.exp())
        added = b[:, t, :, None, None] * (dt[:, t, :, None] * x[:, t])[:, None]
        state = decay[:, None, :, None] * state + added
        steps.append((c[:, t, :, None, None] * state).sum(1))
    seen = ssd.ssd(x, dt, -a.exp(), b, c, h)
    assert_same(list(seen), [torch.stack(steps, 1), state], [x, dt, a, b, c, h])


@pytest.mark.parametrize("length", [1, 3, 9])
def test_short_conv(length):
    torch.manual_seed(0)
    x, tail = doubles(2, length, 5), doubles(2, 3, 5)
    weight, bias = doubles(5, 1, 4), doubles(5)
    whole = torch.cat([tail, x], 1)
    expected = F.conv1d(whole.mT, weight, bias, groups=5).mT
    seen = short_conv(x, weight, bias, tail)
    assert_same(list(seen), [expected, whole[:, -3:]], [x, tail, weight, bias])


def test_ssd_forgets_a_strongly_decayed_past_without_overflow():
    """exp of a difference, never a ratio of exps: decays of e^-1000 must give zeros, not NaN."""
    x, b = torch.ones(1, 64, 1, 2), torch.ones(1, 64, 2)
    y, state = ssd.ssd(x, torch.full((1, 64, 1), 50.0), torch.tensor([-20.0]), b, b, state_of(x, b))
    torch.testing.assert_close(y, torch.full_like(y, 100.0))
    assert state.isfinite().all()


def state_of(x, b):
    return torch.zeros(x.shape[0], b.shape[-1], *x.shape[2:])


@pytest.mark.parametrize("heads", [(4, 4), (4, 2)], ids=["mha", "gqa"])
def test_static_decode_is_eager_decode(heads, monkeypatch):
    """The path a CUDA graph captures, whose position stays a device tensor, on CPU tensors."""
    torch.manual_seed(0)
    n_head, n_kv_head = heads
    q, k, v = torch.randn(2, n_head, 1, 8), *torch.randn(2, 2, n_kv_head, 1, 8)
    past = torch.randn(2, 2, n_kv_head, 12, 8)
    past[:, :, :, 5:] = 0

    def cache():
        return Cache(past[0].clone(), past[1].clone(), torch.tensor(5))

    expected, eager = attention.attention(q, k, v, cache())
    seen, static = attention._static_decode(q, k, v, cache())
    torch.testing.assert_close(seen, expected)
    torch.testing.assert_close(tuple(static), tuple(eager))
