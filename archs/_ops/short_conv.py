"""Causal depthwise convolution over the last few tokens, and the tail it carries between calls."""

import torch
import torch.nn.functional as F
from torch import Tensor


def short_conv(
    x_BTE: Tensor, weight_E1W: Tensor, bias_E: Tensor, tail_BWE: Tensor | None
) -> tuple[Tensor, Tensor]:
    """y_t = bias + Σ_w weight_w x_{t-W+1+w}, and the last W - 1 inputs for the next call.

    `tail_BWE` holds the W - 1 inputs before this call; None stands for zeros.
    """
    width = weight_E1W.shape[-1]
    if tail_BWE is None:
        tail_BWE = x_BTE.new_zeros(len(x_BTE), width - 1, x_BTE.shape[-1])
    x_BTE = torch.cat([tail_BWE.to(x_BTE.dtype), x_BTE], dim=1)
    T = x_BTE.shape[1] - width + 1
    if T == 1:
        y_BTE = torch.einsum("bwe,ew->be", x_BTE, weight_E1W[:, 0])[:, None] + bias_E
    else:
        y_BTE = F.conv1d(x_BTE.mT, weight_E1W, bias_E, groups=len(weight_E1W)).mT
    return y_BTE, x_BTE[:, T:].clone()
