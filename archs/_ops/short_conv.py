"""Causal depthwise convolution over the last few tokens, and the tail it carries between calls.

y_t = bias + Σ_w weight_w x_{t-W+1+w}

On CPU a library's convolution turns its input round and back; `taps` makes one pass for each w.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from archs._ops import Kernel, Op, _causal_conv1d, on, wide


def _with_tail(x_BTE: Tensor, tail_BWE: Tensor) -> tuple[Tensor, Tensor]:
    """The tail followed by the call's inputs; and the next call's tail, which keeps only itself."""
    whole_BTE = torch.cat([tail_BWE.to(x_BTE.dtype), x_BTE], dim=1)
    return whole_BTE, whole_BTE[:, x_BTE.shape[1] :].clone()


def _conv1d(
    x_BTE: Tensor, weight_E1W: Tensor, bias_E: Tensor | None, tail_BWE: Tensor
) -> tuple[Tensor, Tensor]:
    whole_BTE, tail_BWE = _with_tail(x_BTE, tail_BWE)
    return F.conv1d(whole_BTE.mT, weight_E1W, bias_E, groups=len(weight_E1W)).mT, tail_BWE


class _Taps(torch.autograd.Function):
    @staticmethod
    def forward(ctx, whole_BSE, weight_WE, bias_E):
        ctx.save_for_backward(whole_BSE, weight_WE)
        ctx.biased = bias_E is not None
        return _over_taps(whole_BSE, weight_WE, bias_E)

    @staticmethod
    def backward(ctx, grad_BTE):
        whole_BSE, weight_WE = ctx.saved_tensors
        T = grad_BTE.shape[1]
        grad_whole_BSE = torch.zeros_like(whole_BSE)
        grad_taps = []
        for w, tap_E in enumerate(weight_WE):
            grad_whole_BSE[:, w : w + T].addcmul_(grad_BTE, tap_E)
            grad_taps.append((grad_BTE * whole_BSE[:, w : w + T]).sum((0, 1)))
        grad_bias_E = grad_BTE.sum((0, 1)) if ctx.biased else None
        return grad_whole_BSE, torch.stack(grad_taps), grad_bias_E


def _over_taps(whole_BSE: Tensor, weight_WE: Tensor, bias_E: Tensor | None) -> Tensor:
    first_E, *rest = weight_WE
    T = whole_BSE.shape[1] - len(rest)
    y_BTE = whole_BSE[:, :T] * first_E
    for w, tap_E in enumerate(rest, 1):
        y_BTE.addcmul_(whole_BSE[:, w : w + T], tap_E)
    return y_BTE if bias_E is None else y_BTE.add_(bias_E)


def _taps(
    x_BTE: Tensor, weight_E1W: Tensor, bias_E: Tensor | None, tail_BWE: Tensor
) -> tuple[Tensor, Tensor]:
    whole_BSE, tail_BWE = _with_tail(x_BTE, tail_BWE)
    run = _Taps.apply if torch.is_grad_enabled() else _over_taps
    return run(whole_BSE, weight_E1W[:, 0].mT.contiguous(), bias_E), tail_BWE


def _step(
    x_B1E: Tensor, weight_E1W: Tensor, bias_E: Tensor | None, tail_BWE: Tensor
) -> tuple[Tensor, Tensor]:
    whole_BWE = torch.cat([tail_BWE.to(x_B1E.dtype), x_B1E], dim=1)
    tail_BWE.copy_(whole_BWE[:, 1:])
    y_BE = torch.linalg.vecdot(whole_BWE, weight_E1W[:, 0].T, dim=1)
    if bias_E is not None:
        y_BE.add_(bias_E)
    return y_BE[:, None], tail_BWE


def _plain(
    x_BTE: Tensor, weight_E1W: Tensor, bias_E: Tensor | None, tail_BWE: Tensor
) -> tuple[Tensor, Tensor]:
    T = x_BTE.shape[1]
    whole_BTE, tail_BWE = _with_tail(x_BTE, tail_BWE)
    taps = weight_E1W[:, 0].unbind(-1)
    y_BTE = sum(whole_BTE[:, w : w + T] * tap for w, tap in enumerate(taps))
    return y_BTE if bias_E is None else y_BTE + bias_E, tail_BWE


# (x_BTE, weight_E1W, bias_E, tail_BWE) → y (B, T, E) and the tail for the next call; the tail
# holds the W - 1 inputs before this call; no bias is None
short_conv = Op(
    "short_conv",
    Kernel(
        "causal-conv1d-step",
        _causal_conv1d.step,
        why_not=_causal_conv1d.why_not,
        opaque=True,
        refuses=_causal_conv1d.step_refuses,
        one_token=True,
        learns=False,
    ),
    Kernel("step", _step, one_token=True, learns=False),
    Kernel(
        "causal-conv1d",
        _causal_conv1d.conv,
        why_not=_causal_conv1d.why_not,
        opaque=True,
        refuses=_causal_conv1d.conv_refuses,
    ),
    Kernel("taps", _taps, why_not=on("cpu"), suits=wide),
    Kernel("conv1d", _conv1d),
    Kernel("plain", _plain),
)
