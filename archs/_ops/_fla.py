"""flash-linear-attention's chunked kernels in Triton.

    gla, simple_gla    S_t = diag(exp g_t) S_{t-1} + k_t v_tᵀ        o_t = S_tᵀ q_t
    gated_delta_rule   S_t = exp g_t (I - β_t k_t k_tᵀ) S_{t-1} + β_t k_t v_tᵀ
    rwkv7              S_t = diag(exp w_t) S_{t-1} + b_t (a_tᵀ S_{t-1}) + k_t v_tᵀ

fla-core 0.6  https://github.com/fla-org/flash-linear-attention
Mamba-2's recurrence is simple_gla with g = dt a, k = b, v = dt x, q = c; it is taken forward only.
States are float32. On Hopper, triton 3.4 to 3.7.0 miscompiles the backward of one decay a head, and
the library refuses to run it.
"""

import math

import torch
from torch import Tensor

from archs._ops._library import needs, takes_dtype

why_not = needs("fla-core", "fla.ops.simple_gla")
LOWEST = -math.exp(-0.5)  # log of a decay of RWKV-7


def ssd(
    x_BTHK: Tensor, dt_BTH: Tensor, a_H: Tensor, b_BTN: Tensor, c_BTN: Tensor, state_BNHK: Tensor
) -> tuple[Tensor, Tensor]:
    from fla.ops.simple_gla import chunk_simple_gla

    k_BTHN, q_BTHN = (v[:, :, None].expand(-1, -1, len(a_H), -1) for v in (b_BTN, c_BTN))
    y_BTHK, state_BHNK = chunk_simple_gla(
        *(q_BTHN, k_BTHN, (dt_BTH[..., None] * x_BTHK).to(x_BTHK.dtype), dt_BTH * a_H),
        scale=1.0,
        initial_state=state_BNHK.transpose(1, 2),
        output_final_state=True,
    )
    return y_BTHK, state_BHNK.transpose(1, 2)


def _refuses_gradient() -> str | None:
    from fla.utils import IS_NVIDIA_HOPPER, TRITON_ABOVE_3_7_1

    if torch.is_grad_enabled() and IS_NVIDIA_HOPPER and not TRITON_ABOVE_3_7_1:
        return "its backward on Hopper needs triton 3.7.1 or newer"
    return None


def gated_linear_attention(
    q_BTHN: Tensor, k_BTHN: Tensor, v_BTHK: Tensor, g_BTHN: Tensor, state_BHNK: Tensor
) -> tuple[Tensor, Tensor]:
    kept = {"scale": 1.0, "initial_state": state_BHNK, "output_final_state": True}
    if g_BTHN.shape[-1] == 1:
        from fla.ops.simple_gla import chunk_simple_gla

        return chunk_simple_gla(q_BTHN, k_BTHN, v_BTHK, g_BTHN[..., 0], **kept)
    from fla.ops.gla import chunk_gla

    return chunk_gla(q_BTHN, k_BTHN, v_BTHK, g_BTHN, **kept)


def gated_linear_attention_refuses(q_BTHN: Tensor, *rest: Tensor) -> str | None:
    one_decay = rest[2].shape[-1] == 1
    return takes_dtype(q_BTHN) or (_refuses_gradient() if one_decay else None)


def gated_delta_rule(
    q_BTHN: Tensor,
    k_BTHN: Tensor,
    v_BTHK: Tensor,
    beta_BTH1: Tensor,
    g_BTH1: Tensor,
    state_BHNK: Tensor,
) -> tuple[Tensor, Tensor]:
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    return chunk_gated_delta_rule(
        *(q_BTHN, k_BTHN, v_BTHK, g_BTH1[..., 0], beta_BTH1[..., 0]),
        scale=1.0,
        initial_state=state_BHNK,
        output_final_state=True,
    )


def gated_delta_rule_refuses(q_BTHN: Tensor, *rest: Tensor) -> str | None:
    return takes_dtype(q_BTHN) or _refuses_gradient()


def generalised_delta_rule(
    q_BTHN: Tensor,
    g_BTHN: Tensor,
    k_BTHN: Tensor,
    v_BTHK: Tensor,
    a_BTHN: Tensor,
    b_BTHN: Tensor,
    state_BHNK: Tensor,
) -> tuple[Tensor, Tensor]:
    from fla.ops.rwkv7 import chunk_rwkv7

    return chunk_rwkv7(
        *(q_BTHN, g_BTHN, k_BTHN, v_BTHK, a_BTHN, b_BTHN),
        scale=1.0,
        initial_state=state_BHNK,
        output_final_state=True,
        lower_bound=LOWEST,
    )


def generalised_delta_rule_refuses(q_BTHN: Tensor, *rest: Tensor) -> str | None:
    if q_BTHN.dtype in (torch.bfloat16, torch.float16):
        return None
    return f"it takes bfloat16 or float16, not {str(q_BTHN.dtype).removeprefix('torch.')}"
