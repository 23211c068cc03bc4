"""Each token's negative log-likelihood under a linear head, without ever holding all logits.

    nll_m = log Σ_v exp(x_m · w_v) - x_m · w_target

At a vocabulary of 50,000 the logits of one step outweigh all else in memory, and a memory curve
would show the head instead of the architecture. `chunked` makes them a few rows at a time, and
again in the backward pass: a fourth product of that size on top of three. `liger` does the same
with one kernel a chunk between the products (liger-kernel 0.8,
https://github.com/linkedin/Liger-Kernel). Letter: M tokens.
"""

from collections.abc import Callable
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor

from archs._ops import Kernel, Op
from archs._ops._library import needs, takes_dtype

CHUNK_LOGITS = 2**24  # 64 MB of float32 at a time


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x_MD, weight_VD, target_M):
        wide = torch.promote_types(x_MD.dtype, torch.float32)
        normaliser_M, nll_M = (x_MD.new_empty(len(x_MD), dtype=wide) for _ in range(2))
        for rows in _chunks(x_MD, weight_VD):
            logits_MV = (x_MD[rows] @ weight_VD.T).to(wide)
            normaliser_M[rows] = logits_MV.logsumexp(-1)
            nll_M[rows] = normaliser_M[rows] - logits_MV.gather(-1, target_M[rows, None])[:, 0]
        ctx.save_for_backward(x_MD, weight_VD, target_M, normaliser_M)
        return nll_M

    @staticmethod
    def backward(ctx, grad_M):
        x_MD, weight_VD, target_M, normaliser_M = ctx.saved_tensors
        grad_x, grad_weight = torch.empty_like(x_MD), torch.zeros_like(weight_VD)
        for rows in _chunks(x_MD, weight_VD):
            error_MV = (x_MD[rows] @ weight_VD.T).to(grad_M.dtype)
            error_MV.sub_(normaliser_M[rows, None]).exp_()
            error_MV[torch.arange(len(error_MV), device=x_MD.device), target_M[rows]] -= 1
            error_MV = error_MV.mul_(grad_M[rows, None]).to(x_MD.dtype)
            grad_x[rows] = error_MV @ weight_VD
            grad_weight.addmm_(error_MV.T, x_MD[rows])
        return grad_x, grad_weight, None


def _chunks(x_MD: Tensor, weight_VD: Tensor) -> list[slice]:
    rows = max(1, CHUNK_LOGITS // len(weight_VD))
    return [slice(start, start + rows) for start in range(0, len(x_MD), rows)]


def _in_autocasts_dtype(run: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`run` with its factors in autocast's dtype and autocast off, in the backward pass too."""

    @wraps(run)
    def kernel(x_MD, weight_VD, target_M):
        device = x_MD.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            x_MD, weight_VD = x_MD.to(dtype), weight_VD.to(dtype)
        with torch.autocast(device, enabled=False):
            return run(x_MD, weight_VD, target_M)

    return kernel


@_in_autocasts_dtype
def _chunked(x_MD: Tensor, weight_VD: Tensor, target_M: Tensor) -> Tensor:
    return _Chunked.apply(x_MD, weight_VD, target_M)


@_in_autocasts_dtype
def _liger(x_MD: Tensor, weight_VD: Tensor, target_M: Tensor) -> Tensor:
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    # many chunks add to the weight's gradient: in bfloat16 the later ones would be rounded away
    wide = {"reduction": "none", "accum_dtype": torch.float32}
    return liger_fused_linear_cross_entropy(x_MD, weight_VD, target_M, **wide)


def _plain(x_MD: Tensor, weight_VD: Tensor, target_M: Tensor) -> Tensor:
    logits_MV = F.linear(x_MD, weight_VD)
    logits_MV = logits_MV.to(torch.promote_types(logits_MV.dtype, torch.float32))
    return F.cross_entropy(logits_MV, target_M, reduction="none")


def _outweighs(x_MD: Tensor, weight_VD: Tensor, target_M: Tensor) -> bool:
    return len(x_MD) * len(weight_VD) > CHUNK_LOGITS


# (x_MD, weight_VD, target_M) → nll_M in nats, float32 or wider
cross_entropy = Op(
    "cross_entropy",
    Kernel(
        "liger",
        _liger,
        why_not=needs("liger-kernel", "liger_kernel.transformers.functional"),
        opaque=True,
        refuses=takes_dtype,
        suits=_outweighs,
    ),
    Kernel("chunked", _chunked, suits=_outweighs),
    Kernel("plain", _plain),
)
