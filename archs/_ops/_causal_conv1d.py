"""Dao's depthwise convolution in CUDA.

causal-conv1d 1.7  https://github.com/Dao-AILab/causal-conv1d
"""

from torch import Tensor

from archs._ops._library import needs, takes_dtype

why_not = needs("causal-conv1d", "causal_conv1d")
VECTOR = 8  # elements: it reads rows 16 bytes at a time


def conv(
    x_BTE: Tensor, weight_E1W: Tensor, bias_E: Tensor | None, tail_BWE: Tensor
) -> tuple[Tensor, Tensor]:
    from causal_conv1d import causal_conv1d_fn

    if any(n % VECTOR for n in (*x_BTE.stride()[:2], x_BTE.storage_offset())):
        x_BTE = x_BTE.contiguous()
    y_BET, tail_BEW = causal_conv1d_fn(
        x_BTE.mT,
        weight_E1W[:, 0],
        bias_E,
        initial_states=tail_BWE.to(x_BTE.dtype).mT,
        return_final_states=True,
    )
    return y_BET.mT, tail_BEW.mT


def conv_refuses(x_BTE: Tensor, weight_E1W: Tensor, *rest: Tensor) -> str | None:
    E, _, W = weight_E1W.shape
    if E % VECTOR:
        return f"it takes a multiple of {VECTOR} channels, not {E}"
    return _refuses_width(W) or takes_dtype(x_BTE)


def step(
    x_B1E: Tensor, weight_E1W: Tensor, bias_E: Tensor | None, tail_BWE: Tensor
) -> tuple[Tensor, Tensor]:
    """In place in the tail."""
    from causal_conv1d import causal_conv1d_update

    y_BE = causal_conv1d_update(x_B1E[:, 0], tail_BWE.mT, weight_E1W[:, 0], bias_E)
    return y_BE[:, None], tail_BWE


def step_refuses(
    x_B1E: Tensor, weight_E1W: Tensor, bias_E: Tensor | None, tail_BWE: Tensor
) -> str | None:
    if tail_BWE.dtype != x_B1E.dtype:
        return "it takes a tail of its input's dtype"
    return _refuses_width(weight_E1W.shape[-1]) or takes_dtype(x_B1E)


def _refuses_width(width: int) -> str | None:
    return None if 2 <= width <= 4 else f"it spans 2 to 4 tokens, not {width}"
