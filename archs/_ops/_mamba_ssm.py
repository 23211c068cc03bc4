"""Gu & Dao's own kernels: Mamba-1's in CUDA, Mamba-2's in Triton.

mamba-ssm 2.3  https://github.com/state-spaces/mamba
"""

import torch
from torch import Tensor

from archs._ops._library import needs, takes_dtype

CHUNK = 256  # tokens, the library's own choice for Mamba-2
ONE_IN_EPSILON = 2.0**40  # a power of two, so that what is divided by it is not rounded

why_not_scan = needs("mamba-ssm", "mamba_ssm.ops.selective_scan_interface")
why_not_ssd = needs("mamba-ssm", "mamba_ssm.ops.triton.ssd_combined")
why_not_step = needs("mamba-ssm", "mamba_ssm.ops.triton.selective_state_update")


def selective_scan(
    x_BTE: Tensor,
    dt_BTE: Tensor,
    a_EN: Tensor,
    b_BTN: Tensor,
    c_BTN: Tensor,
    state_BNE: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """The library starts from zeros and passes no gradient to the state it ends with. N tokens
    ahead of the call's, which write the state, and N behind, which read it, make up for both:

        ahead   dt = ε, x = state_n / ε, b = one-hot n    exp(ε a) rounds to 1 and ε x is state_n
        behind  dt = 0, x = 0,           c = one-hot n    nothing fades and y is state_n
    """
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    if state_BNE is None:
        y_BET = selective_scan_fn(x_BTE.mT, dt_BTE.mT, a_EN, b_BTN.mT, c_BTN.mT)
        return y_BET.mT, None
    N = a_EN.shape[1]
    one_hot_BNN = torch.eye(N, dtype=x_BTE.dtype, device=x_BTE.device).expand(len(x_BTE), N, N)
    none_BNE, none_BNN = torch.zeros_like(state_BNE), torch.zeros_like(one_hot_BNN)
    y_BET = selective_scan_fn(
        _join(state_BNE * ONE_IN_EPSILON, x_BTE, none_BNE),
        _join(torch.full_like(state_BNE, 1 / ONE_IN_EPSILON), dt_BTE, none_BNE),
        a_EN,
        _join(one_hot_BNN, b_BTN, none_BNN),
        _join(none_BNN, c_BTN, one_hot_BNN),
    )
    return y_BET[..., N:-N].mT, y_BET[..., -N:].mT.contiguous()


def _join(ahead: Tensor, call: Tensor, behind: Tensor) -> Tensor:
    """One after another in time, which becomes the last axis: the copy the library would make."""
    return torch.cat([ahead.mT, call.mT, behind.mT], dim=-1)


def selective_scan_refuses(
    x_BTE: Tensor, dt_BTE: Tensor, a_EN: Tensor, *rest: object
) -> str | None:
    if a_EN.dtype != torch.float32 or x_BTE.dtype != torch.float32:
        return "it takes float32 only"
    if a_EN.shape[1] > 256:
        return f"it holds at most 256 numbers a channel, not {a_EN.shape[1]}"
    return None


def selective_step(
    x_B1E: Tensor, dt_B1E: Tensor, a_EN: Tensor, b_B1N: Tensor, c_B1N: Tensor, state_BNE: Tensor
) -> tuple[Tensor, Tensor]:
    """In place in the state."""
    from mamba_ssm.ops.triton.selective_state_update import selective_state_update

    none_E = a_EN.new_zeros(1).expand(len(a_EN))  # it cannot do without a skip and a bias of dt
    y_BE = selective_state_update(
        *(state_BNE.mT, x_B1E[:, 0], dt_B1E[:, 0], a_EN, b_B1N[:, 0], c_B1N[:, 0]),
        D=none_E,
        dt_bias=none_E,
    )
    return y_BE[:, None], state_BNE


def selective_step_refuses(*call: Tensor | None) -> str | None:
    return "it updates a state and was given none" if call[-1] is None else takes_dtype(*call)


def ssd(
    x_BTHK: Tensor, dt_BTH: Tensor, a_H: Tensor, b_BTN: Tensor, c_BTN: Tensor, state_BNHK: Tensor
) -> tuple[Tensor, Tensor]:
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    y_BTHK, state_BHKN = mamba_chunk_scan_combined(
        *(x_BTHK, dt_BTH, a_H, b_BTN[:, :, None], c_BTN[:, :, None], CHUNK),
        initial_states=state_BNHK.permute(0, 2, 3, 1),
        return_final_states=True,
    )
    # in memory N stays innermost, as the library's one-token kernel reads it fastest
    return y_BTHK, state_BHKN.permute(0, 3, 1, 2)


def ssd_step(
    x_B1HK: Tensor, dt_B1H: Tensor, a_H: Tensor, b_B1N: Tensor, c_B1N: Tensor, state_BNHK: Tensor
) -> tuple[Tensor, Tensor]:
    """In place in the state. What a head shares is expanded, and known to be shared by its strides
    of 0."""
    from mamba_ssm.ops.triton.selective_state_update import selective_state_update

    state_BHKN = state_BNHK.permute(0, 2, 3, 1)
    none_HK = a_H.new_zeros(1).expand(state_BHKN.shape[1:3])  # a skip and a bias of dt, as above
    y_BHK = selective_state_update(
        state_BHKN,
        x_B1HK[:, 0],
        dt_B1H[:, 0, :, None].expand(state_BHKN.shape[:3]),
        a_H[:, None, None].expand(state_BHKN.shape[1:]),
        b_B1N,
        c_B1N,
        D=none_HK,
        dt_bias=none_HK,
    )
    return y_BHK[:, None], state_BNHK
