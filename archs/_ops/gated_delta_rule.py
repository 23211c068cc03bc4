"""The delta rule: what is already stored under a key is taken out before the new value goes in.

    S̃_t = exp(g_t) S_{t-1}        u_t = β_t (v_t - S̃_tᵀ k_t)
    S_t = S̃_t + k_t u_tᵀ          o_t = S_tᵀ q_t

Yang et al., Parallelizing Linear Transformers with the Delta Rule  https://arxiv.org/abs/2406.06484
Yang, Kautz & Hatamizadeh, Gated Delta Networks                     https://arxiv.org/abs/2412.06464
A chunk's u depend on one another, through (I + L) u = β v - β exp(G) K S with L strictly lower
triangular, G the sums of g and S the state at its start. Solved once for both terms (the paper's WY
representation, W and U), u = U - W S is a product.
"""

import torch
from torch import Tensor

from archs._ops import Kernel, Op, _fla
from archs._ops._chunks import (
    all_chunks,
    by_chunks,
    chunk_length,
    decay_between,
    each_chunk,
    widened,
)
from archs._ops._library import on_tensor_cores


def unit(x: Tensor) -> Tensor:
    """Over the last axis of length 1, unless near 0."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)


@by_chunks
def _chunked(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, state_BHNK: Tensor
) -> tuple[Tensor, Tensor]:
    H, N, K = state_BHNK.shape[1:]
    log_decay = g.cumsum(-2)
    between = decay_between(log_decay[..., 0])
    written = k * beta
    # reads one triangle, without its diagonal
    u_v, u_state = torch.linalg.solve_triangular(
        (written @ k.mT) * between,
        torch.cat([v * beta, written * log_decay.exp()], -1),
        upper=False,
        unitriangular=True,
    ).split((K, N), -1)

    end = log_decay[..., -1:, :]
    to_end = (k * (end - log_decay).exp()).mT
    state, starts, us = state_BHNK.flatten(0, 1), [], []
    for by_v, by_state, keys, whole in each_chunk(u_v, u_state, to_end, end.exp()):
        starts.append(state)
        us.append(torch.baddbmm(by_v, by_state, state, alpha=-1))
        state = torch.baddbmm(whole * state, keys, us[-1])
    within = ((q @ k.mT) * between) @ all_chunks(us, H)
    return within + (q * log_decay.exp()) @ all_chunks(starts, H), state.view_as(state_BHNK)


def _step(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, state_BHNK: Tensor
) -> tuple[Tensor, Tensor]:
    q, k, v, beta, g = (x.transpose(1, 2) for x in (q, k, v, beta, g))
    # in place: at one token a second copy of the state would be most of the traffic
    state_BHNK.mul_(g.exp())
    state_BHNK.addcmul_(k.mT, beta * (v - k @ state_BHNK))
    return (q @ state_BHNK).transpose(1, 2), state_BHNK


def _plain(
    q: Tensor, k: Tensor, v: Tensor, beta: Tensor, g: Tensor, state_BHNK: Tensor
) -> tuple[Tensor, Tensor]:
    steps = []
    for q_BHN, k_BHN, v_BHK, beta_BH1, g_BH1 in zip(
        *(x.unbind(1) for x in (q, k, v, beta, g)), strict=True
    ):
        state_BHNK = g_BH1.exp()[..., None] * state_BHNK
        u_BHK = beta_BH1 * (v_BHK - (k_BHN[..., None] * state_BHNK).sum(-2))
        state_BHNK = state_BHNK + k_BHN[..., None] * u_BHK[..., None, :]
        steps.append((q_BHN[..., None] * state_BHNK).sum(-2))
    return torch.stack(steps, dim=1), state_BHNK


# (q_BTHN, k_BTHN, v_BTHK, beta_BTH1, g_BTH1, state_BHNK) → o (B, T, H, K) and the state after the
# last token; g, the log of the decays, is at most 0, and keys of a length above 1 may let the state
# grow. Differentiable in every argument; all but g and the state may be narrower than those
gated_delta_rule = Op(
    "gated_delta_rule",
    Kernel("step", widened(_step), one_token=True, learns=False),
    Kernel(
        "fla",
        _fla.gated_delta_rule,
        why_not=_fla.why_not,
        opaque=True,
        refuses=_fla.gated_delta_rule_refuses,
        suits=on_tensor_cores,
    ),
    Kernel("chunked", _chunked, opaque=True),
    Kernel("plain", widened(_plain), opaque=True),
)


def gated_delta_rule_flops(N: int, K: int, tokens: int) -> float:
    """Of a head, a token: two products of scores, their solution, u, output, states in and out."""
    if tokens == 1:
        return 6 * N * K
    Q = chunk_length(tokens)
    return 4 * Q * N + Q * (N + K) + 2 * Q * K + 6 * N * K
