"""Mamba-2's recurrence: one decay a head, so that a chunk of time becomes matrix products.

    h_t = exp(dt_t a) h_{t-1} + dt_t x_t ⊗ b_t        y_t = h_t c_t

Dao & Gu, Transformers are SSMs, section 6  https://arxiv.org/abs/2405.21060
Within a chunk of Q tokens the output is attention-like, (C Bᵀ ∘ decay) X; between chunks one state
(N, K) a head is carried. Work is linear in T.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from archs._ops import Kernel, Op, _fla, _mamba_ssm
from archs._ops._chunks import decay_between, widened
from archs._ops._library import on_tensor_cores, takes_dtype


def chunk_length(d_state: int, d_head: int) -> int:
    """Q, the fastest power of two on CPU: more means more scores, fewer more (N, K) states."""
    return 32 if d_state * d_head < 2048 else 64


def _chunked(
    x_BTHK: Tensor, dt_BTH: Tensor, a_H: Tensor, b_BTN: Tensor, c_BTN: Tensor, state_BNHK: Tensor
) -> tuple[Tensor, Tensor]:
    B, T, H, K = x_BTHK.shape
    Q = min(chunk_length(b_BTN.shape[-1], K), T)
    if pad := -T % Q:
        # dt = 0 neither decays the state nor adds to it
        x_BTHK = F.pad(x_BTHK, (0, 0, 0, 0, 0, pad))
        dt_BTH, b_BTN, c_BTN = (F.pad(v, (0, 0, 0, pad)) for v in (dt_BTH, b_BTN, c_BTN))
    chunks = x_BTHK.shape[1] // Q  # axis C below; Q tokens each
    dt_BCHQ = dt_BTH.view(B, chunks, Q, H).mT
    dtx_BCHQK = (x_BTHK * dt_BTH[..., None]).view(B, chunks, Q, H, K).transpose(2, 3)
    b_BCQN, c_BCQN = (v.view(B, chunks, Q, -1) for v in (b_BTN, c_BTN))
    log_decay_BCHQ = (dt_BCHQ * a_H[:, None]).cumsum(-1)

    # 1. within each chunk
    scores_BCQQ = c_BCQN @ b_BCQN.mT
    y_BCHQK = (scores_BCQQ[:, :, None] * decay_between(log_decay_BCHQ)) @ dtx_BCHQK

    # 2. what each chunk adds to the state by its end
    to_end_BCHQ = (log_decay_BCHQ[..., -1:] - log_decay_BCHQ).exp()
    decayed_BCQE = (dtx_BCHQK * to_end_BCHQ[..., None]).transpose(2, 3).flatten(3)
    added_BCNE = b_BCQN.mT @ decayed_BCQE

    # 3. the state each chunk starts from. unbind, not indexing: the backward of every [:, i]
    #    would allocate zeros the size of the whole
    whole_BC1E = log_decay_BCHQ[..., -1].exp().repeat_interleave(K, dim=-1)[:, :, None]
    state_BNE, starts = state_BNHK.flatten(2), []
    for added_BNE, whole_B1E in zip(added_BCNE.unbind(1), whole_BC1E.unbind(1), strict=True):
        starts.append(state_BNE)
        state_BNE = torch.addcmul(added_BNE, whole_B1E, state_BNE)

    # 4. what it contributes to every output of the chunk
    carried_BCQHK = (c_BCQN @ torch.stack(starts, 1)).view(B, chunks, Q, H, K)
    y_BCHQK = y_BCHQK + carried_BCQHK.transpose(2, 3) * log_decay_BCHQ.exp()[..., None]
    y_BTHK = y_BCHQK.transpose(2, 3).reshape(B, -1, H, K)[:, :T]
    return y_BTHK, state_BNE.view(B, -1, H, K)


def _step(
    x_B1HK: Tensor, dt_B1H: Tensor, a_H: Tensor, b_B1N: Tensor, c_B1N: Tensor, state_BNHK: Tensor
) -> tuple[Tensor, Tensor]:
    dt_B1H1 = dt_B1H[..., None]
    # in place: at one token a second copy of the state would be most of the traffic
    state_BNHK.mul_(torch.exp(dt_B1H1 * a_H[:, None]))
    state_BNHK.addcmul_(b_B1N.mT[..., None], dt_B1H1 * x_B1HK)
    return (c_B1N @ state_BNHK.flatten(2)).view_as(x_B1HK), state_BNHK


def _plain(
    x_BTHK: Tensor, dt_BTH: Tensor, a_H: Tensor, b_BTN: Tensor, c_BTN: Tensor, state_BNHK: Tensor
) -> tuple[Tensor, Tensor]:
    steps = []
    for x_BHK, dt_BH, b_BN, c_BN in zip(
        *(v.unbind(1) for v in (x_BTHK, dt_BTH, b_BTN, c_BTN)), strict=True
    ):
        decay_BH = torch.exp(dt_BH * a_H)
        added_BNHK = b_BN[:, :, None, None] * (dt_BH[..., None] * x_BHK)[:, None]
        state_BNHK = decay_BH[:, None, :, None] * state_BNHK + added_BNHK
        steps.append((c_BN[:, :, None, None] * state_BNHK).sum(1))
    return torch.stack(steps, dim=1), state_BNHK


# (x_BTHK, dt_BTH, a_H, b_BTN, c_BTN, state_BNHK) → y (B, T, H, K) and the state after the last
# token; one group of B and C for all heads; differentiable in every argument. x, b and c may be
# narrower than the rest
ssd = Op(
    "ssd",
    Kernel(
        "mamba-ssm-step",
        _mamba_ssm.ssd_step,
        why_not=_mamba_ssm.why_not_step,
        opaque=True,
        refuses=takes_dtype,
        one_token=True,
        learns=False,
    ),
    Kernel("step", widened(_step), one_token=True, learns=False),
    Kernel(
        "mamba-ssm",
        _mamba_ssm.ssd,
        why_not=_mamba_ssm.why_not_ssd,
        opaque=True,
        refuses=takes_dtype,
        suits=on_tensor_cores,
    ),
    Kernel(
        "fla",
        _fla.ssd,
        why_not=_fla.why_not,
        opaque=True,
        refuses=takes_dtype,
        suits=on_tensor_cores,
        learns=False,
    ),
    Kernel("chunked", widened(_chunked)),
    Kernel("plain", widened(_plain), opaque=True),
)
