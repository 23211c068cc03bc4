"""Mamba-3's recurrence: a token enters the state when it is read, and again with the next one.

    h_t = a_t (h_{t-1} + before_t k_{t-1} v_{t-1}ᵀ) + now_t k_t v_tᵀ        y_t = h_tᵀ q_t

Lahoti et al., Mamba-3, section 3.1  https://arxiv.org/abs/2603.15569
With before = (1 - λ) dt and now = λ dt it is the trapezoidal rule where λ = 1/2, Mamba-2's where 1.
Chunked as `ssd` is: to tokens after it, in its chunk or later, a token weighs now_t + before_{t+1};
to itself now_t alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from archs._ops import Kernel, Op
from archs._ops._chunks import decay_between
from archs._ops.ssd import chunk_length


def _entering(before_BH: Tensor, k_BHN: Tensor, v_BHK: Tensor) -> Tensor:
    return (before_BH[..., None] * k_BHN)[..., None] * v_BHK[..., None, :]


def _chunked(
    q_BTHN: Tensor,
    k_BTHN: Tensor,
    v_BTHK: Tensor,
    log_a_BTH: Tensor,
    now_BTH: Tensor,
    before_BTH: Tensor,
    state_BHNK: Tensor,
    k_BHN: Tensor,
    v_BHK: Tensor,
) -> tuple[Tensor, Tensor]:
    T, K = v_BTHK.shape[1], v_BTHK.shape[3]
    Q = min(chunk_length(q_BTHN.shape[-1], K), T)
    total_BTH = now_BTH + F.pad(before_BTH[:, 1:], (0, 0, 0, 1))
    pad = -T % Q

    def chunked(x: Tensor) -> Tensor:
        """(B, T, H, …) to (B, C, H, Q, …); what is added neither decays the state nor enters it."""
        x = F.pad(x, (0, 0) * (x.dim() - 2) + (0, pad)) if pad else x
        return x.unflatten(1, (-1, Q)).transpose(2, 3)

    q, k, v, log_a, now, total = map(
        chunked, (q_BTHN, k_BTHN, v_BTHK, log_a_BTH, now_BTH, total_BTH)
    )
    cumulative = log_a.cumsum(-1)

    # 1. within each chunk
    weights = decay_between(cumulative) * total[..., None, :]
    weights = weights - torch.diag_embed(total - now)
    y = ((q @ k.mT) * weights) @ v

    # 2. what each chunk adds to the state by its end
    to_end = (cumulative[..., -1:] - cumulative).exp() * total
    added = k.mT @ (v * to_end[..., None])

    # 3. the state each chunk starts from; unbind, not indexing, as in `ssd`
    state = state_BHNK + _entering(before_BTH[:, 0], k_BHN, v_BHK)
    whole, starts = cumulative[..., -1].exp()[..., None, None], []
    for added_BHNK, whole_BH11 in zip(added.unbind(1), whole.unbind(1), strict=True):
        starts.append(state)
        state = torch.addcmul(added_BHNK, whole_BH11, state)

    # 4. what it contributes to every output of the chunk
    y = y + (q @ torch.stack(starts, 1)) * cumulative.exp()[..., None]
    return y.transpose(2, 3).flatten(1, 2)[:, :T], state


def _step(
    q_B1HN: Tensor,
    k_B1HN: Tensor,
    v_B1HK: Tensor,
    log_a_B1H: Tensor,
    now_B1H: Tensor,
    before_B1H: Tensor,
    state_BHNK: Tensor,
    k_BHN: Tensor,
    v_BHK: Tensor,
) -> tuple[Tensor, Tensor]:
    a_BH = log_a_B1H[:, 0].exp()
    keys = torch.stack(
        [(a_BH * before_B1H[:, 0])[..., None] * k_BHN, now_B1H[:, 0, :, None] * k_B1HN[:, 0]], -1
    )
    values = torch.stack([v_BHK, v_B1HK[:, 0]], dim=-2)
    # in place: at one token a second copy of the state would be most of the traffic
    state_BHNK.mul_(a_BH[..., None, None])
    state_BHNK.flatten(0, 1).baddbmm_(keys.flatten(0, 1), values.flatten(0, 1))
    return (q_B1HN[:, 0, :, None] @ state_BHNK).transpose(1, 2), state_BHNK


def _plain(
    q_BTHN: Tensor,
    k_BTHN: Tensor,
    v_BTHK: Tensor,
    log_a_BTH: Tensor,
    now_BTH: Tensor,
    before_BTH: Tensor,
    state_BHNK: Tensor,
    k_BHN: Tensor,
    v_BHK: Tensor,
) -> tuple[Tensor, Tensor]:
    steps = []
    for q, k, v, log_a, now, before in zip(
        *(x.unbind(1) for x in (q_BTHN, k_BTHN, v_BTHK, log_a_BTH, now_BTH, before_BTH)),
        strict=True,
    ):
        held = state_BHNK + _entering(before, k_BHN, v_BHK)
        state_BHNK = log_a.exp()[..., None, None] * held + _entering(now, k, v)
        steps.append((q[..., None] * state_BHNK).sum(-2))
        k_BHN, v_BHK = k, v
    return torch.stack(steps, dim=1), state_BHNK


# (q_BTHN, k_BTHN, v_BTHK, log_a_BTH, now_BTH, before_BTH, state_BHNK, k_BHN, v_BHK) → y
# (B, T, H, K) and the state after the last token; the last two are the token's before the first
trapezoidal_scan = Op(
    "trapezoidal_scan",
    Kernel("step", _step, one_token=True, learns=False),
    Kernel("chunked", _chunked),
    Kernel("plain", _plain, opaque=True),
)
