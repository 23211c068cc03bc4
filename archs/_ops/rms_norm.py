"""Root-mean-square normalisation over the last axis.

    y = x / √(mean x² + ε) · weight

Zhang & Sennrich, Root Mean Square Layer Normalization  https://arxiv.org/abs/1910.07467
On CPU torch composes it, and its gradient, of a dozen passes; `stored` makes six, keeping x̂.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from archs._ops import Kernel, Op, on, wide


def _scale(x: Tensor, eps: float) -> Tensor:
    """1 / √(mean x² + ε), one for each row."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().mul_(1 / x.shape[-1]).add_(eps).rsqrt_()


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight_D, eps):
        scale = _scale(x, eps)
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight_D)
        return unit * weight_D

    @staticmethod
    def backward(ctx, grad):
        unit, scale, weight_D = ctx.saved_tensors
        product = grad * unit
        grad_weight = product.flatten(0, -2).sum(0)
        along = product.mul_(weight_D).mean(-1, keepdim=True)
        grad_x = torch.addcmul(grad * weight_D, unit, along, value=-1).mul_(scale)
        return grad_x, grad_weight, None


def _stored(x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    if torch.is_grad_enabled():
        return _RMSNorm.apply(x, weight_D, eps)
    return (x * _scale(x, eps)).mul_(weight_D)


def _torch(x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    return F.rms_norm(x, weight_D.shape, weight_D, eps)


def _plain(x: Tensor, weight_D: Tensor, eps: float) -> Tensor:
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    return (wide / (wide.square().mean(-1, keepdim=True) + eps).sqrt() * weight_D).to(x.dtype)


# (x, weight_D, eps) → x's shape; the square's mean is taken in float32 or wider
rms_norm = Op(
    "rms_norm",
    Kernel("stored", _stored, why_not=on("cpu"), suits=wide),
    Kernel("torch", _torch),
    Kernel("plain", _plain),
)
