"""flash-linear-attention's gated linear attention, of which Mamba-2's recurrence is one.

    S_t = exp(g_t) S_{t-1} + k_t v_tᵀ        o_t = S_tᵀ q_t        g = dt a, k = b, v = dt x, q = c

fla-core 0.6  https://github.com/fla-org/flash-linear-attention
Forward only: its backward refuses to run on Hopper with triton 3.4 to 3.7.0, which miscompiles it.
"""

from torch import Tensor

from archs._ops._library import needs

why_not = needs("fla-core", "fla.ops.simple_gla")


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
