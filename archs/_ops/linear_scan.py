"""h_t = a_t h_{t-1} + b_t for every t at once: the recurrence of minGRU and gated linear RNNs.

Time is folded into `chunks` side by side of `span` steps each: `span` vectorised steps solve every
chunk from a zero start, a walk over the chunks' ends gives what each inherits, and one more pass
adds it. Work and memory are linear in T; the Python loop is O(√T).
"""

from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from archs._ops import Kernel, Op, _triton_guard, _triton_linear_scan


def _fold(x_BTE: Tensor, span: int, fill: float) -> Tensor:
    """(B, T, E) to (span, chunks, B, E), contiguous, padded at the end of time."""
    B, T, E = x_BTE.shape
    if pad := -T % span:
        x_BTE = F.pad(x_BTE, (0, 0, 0, pad), value=fill)
    folded = x_BTE.view(B, -1, span, E).permute(2, 1, 0, 3)
    return folded.clone(memory_format=torch.contiguous_format)


def _scan(a_BTE: Tensor, b_BTE: Tensor, h_BE: Tensor) -> Tensor:
    B, T, E = b_BTE.shape
    span = max(1, isqrt(T))
    a, h = _fold(a_BTE, span, 1.0), _fold(b_BTE, span, 0.0)
    for t in range(1, span):
        h[t].addcmul_(a[t], h[t - 1])
        a[t].mul_(a[t - 1])
    inherited = torch.empty_like(h[0])
    inherited[0] = h_BE
    for chunk in range(1, len(inherited)):
        torch.addcmul(
            h[-1, chunk - 1], a[-1, chunk - 1], inherited[chunk - 1], out=inherited[chunk]
        )
    h.addcmul_(a, inherited)
    return h.permute(2, 1, 0, 3).reshape(B, -1, E)[:, :T]


class LinearScan(torch.autograd.Function):
    """The adjoint of a linear scan is a linear scan backwards in time."""

    @staticmethod
    def forward(ctx, a_BTE, b_BTE, h_BE):
        h_BTE = _scan(a_BTE, b_BTE, h_BE)
        ctx.save_for_backward(a_BTE, h_BTE, h_BE)
        return h_BTE

    @staticmethod
    def backward(ctx, grad_BTE):
        a_BTE, h_BTE, h_BE = ctx.saved_tensors
        later_a = F.pad(a_BTE[:, 1:], (0, 0, 0, 1)).flip(1)
        grad_b = _scan(later_a, grad_BTE.flip(1), torch.zeros_like(h_BE)).flip(1)
        earlier_h = torch.cat([h_BE[:, None], h_BTE[:, :-1]], dim=1)
        return grad_b * earlier_h, grad_b, grad_b[:, 0] * a_BTE[:, 0]


def _step(a_B1E: Tensor, b_B1E: Tensor, h_BE: Tensor) -> Tensor:
    return torch.addcmul(b_B1E, a_B1E, h_BE[:, None])


def _plain(a_BTE: Tensor, b_BTE: Tensor, h_BE: Tensor) -> Tensor:
    steps = []
    for a_BE, b_BE in zip(a_BTE.unbind(1), b_BTE.unbind(1), strict=True):
        h_BE = a_BE * h_BE + b_BE
        steps.append(h_BE)
    return torch.stack(steps, dim=1)


# (a_BTE, b_BTE, h_BE) → every h_t, (B, T, E), from h_{-1} = h_BE; differentiable in all three
linear_scan = Op(
    "linear_scan",
    Kernel("step", _step, one_token=True),
    Kernel("triton", _triton_linear_scan.linear_scan, why_not=_triton_guard.why_not, opaque=True),
    Kernel("folded", LinearScan.apply, opaque=True),
    Kernel("plain", _plain, opaque=True),
)
