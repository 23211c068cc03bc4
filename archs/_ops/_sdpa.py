"""torch's scaled_dot_product_attention, and each of its CUDA backends under its own name.

Torch chooses a backend for itself and does not say which; a kernel that allows only one does.
What a backend cannot take is torch's to know, and it is asked.
"""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torch.backends.cuda import (
    SDPAParams,
    can_use_cudnn_attention,
    can_use_efficient_attention,
    can_use_flash_attention,
)
from torch.nn.attention import SDPBackend, sdpa_kernel

from archs._ops import Kernel, on


def _as_torch_takes(
    q_BHTK: Tensor, k_BJSK: Tensor, v_BJSK: Tensor, causal: bool, seen_TS: Tensor | None
) -> tuple[Any, ...]:
    """q, k, v, mask, dropout, is_causal, enable_gqa."""
    shared = q_BHTK.shape[1] != k_BJSK.shape[1]
    if shared and q_BHTK.shape[2] == 1:
        # the queries that share a key/value head become its rows: nothing is copied
        q_BHTK = q_BHTK.view(len(q_BHTK), k_BJSK.shape[1], -1, q_BHTK.shape[-1])
        causal = shared = False
    return q_BHTK, k_BJSK, v_BJSK, seen_TS, 0.0, causal, shared


def sdpa(
    q_BHTK: Tensor, k_BJSK: Tensor, v_BJSK: Tensor, causal: bool, seen_TS: Tensor | None
) -> Tensor:
    *call, shared = _as_torch_takes(q_BHTK, k_BJSK, v_BJSK, causal, seen_TS)
    # not a view: flash attention returns its heads innermost
    return F.scaled_dot_product_attention(*call, enable_gqa=shared).reshape(q_BHTK.shape)


def _backend(
    name: str,
    backend: SDPBackend,
    can_use: Callable[[SDPAParams], bool],
    suits: Callable[..., bool] | None = None,
) -> Kernel:
    def run(*call: Any) -> Tensor:
        with sdpa_kernel(backend):
            return sdpa(*call)

    def refuses(*call: Any) -> str | None:
        if can_use(SDPAParams(*_as_torch_takes(*call))):
            return None
        return "torch's rules for it leave out this dtype, head width, mask or device"

    return Kernel(name, run, why_not=on("cuda"), refuses=refuses, suits=suits)


def _shapes_recur(q_BHTK: Tensor, k: Tensor, v: Tensor, causal: bool, seen: Tensor | None) -> bool:
    """cuDNN plans anew for every shape, and without a mask decode's grows by a token a call."""
    return q_BHTK.shape[2] > 1 or seen is not None


BACKENDS = (
    _backend("cudnn", SDPBackend.CUDNN_ATTENTION, can_use_cudnn_attention, suits=_shapes_recur),
    _backend("flash", SDPBackend.FLASH_ATTENTION, can_use_flash_attention),
    _backend("efficient", SDPBackend.EFFICIENT_ATTENTION, can_use_efficient_attention),
)
