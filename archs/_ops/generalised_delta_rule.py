"""RWKV-7's delta rule: N decays a head, and what is taken out and put in under keys of their own.

    S_t = diag(exp g_t) S_{t-1} + b_t (a_tᵀ S_{t-1}) + k_t v_tᵀ        o_t = S_tᵀ q_t

Peng et al., RWKV-7 "Goose"  https://arxiv.org/abs/2503.14456, whose S is ours transposed
A chunk's u_t = S_{t-1}ᵀ a_t depend on one another, through a triangular system that is solved as
in the delta rule. The decay between two tokens is split as exp(G_t) exp(-G_s), G the sums of g,
which g of at least `_fla.LOWEST`, RWKV-7's own bound of -e^-½, keeps below e^20 in a chunk.
"""

import torch
from torch import Tensor

from archs._ops import Kernel, Op, _fla
from archs._ops._chunks import all_chunks, by_chunks, chunk_length, each_chunk, widened


@by_chunks
def _chunked(
    q: Tensor, g: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, state_BHNK: Tensor
) -> tuple[Tensor, Tensor]:
    (_, H, N, K), Q = state_BHNK.shape, q.shape[-2]
    log_decay = g.cumsum(-2)
    from_start, to_start = log_decay.exp(), (-log_decay).exp()
    q, a = q * from_start, a * (log_decay - g).exp()  # a reads what the token before left
    scores = torch.cat([q, a], -2) @ torch.cat([k * to_start, b * to_start], -2).mT
    ahead = torch.ones(Q, Q, dtype=torch.bool, device=q.device).triu_()
    q_by_kb, a_by_kb = scores.split(Q, -2)
    q_by_kb = q_by_kb.masked_fill(ahead.triu(1).repeat(1, 2), 0)
    a_by_k, a_by_b = a_by_kb.split(Q, -1)
    # reads one triangle, without its diagonal
    u_v, u_state = torch.linalg.solve_triangular(
        -a_by_b,
        torch.cat([a_by_k.masked_fill(ahead, 0) @ v, a], -1),
        upper=False,
        unitriangular=True,
    ).split((K, N), -1)

    end = log_decay[..., -1:, :]
    to_end = (end - log_decay).exp()
    added, b_to_end = (k * to_end).mT @ v, (b * to_end).mT
    chunks = each_chunk(u_v, u_state, added, b_to_end, end.exp().mT)
    state, starts, us = state_BHNK.flatten(0, 1), [], []
    for by_v, by_state, by_k, keys, whole in chunks:
        starts.append(state)
        us.append(torch.baddbmm(by_v, by_state, state))
        state = torch.baddbmm(torch.addcmul(by_k, whole, state), keys, us[-1])
    within = q_by_kb @ torch.cat([v, all_chunks(us, H)], -2)
    return within + q @ all_chunks(starts, H), state.view_as(state_BHNK)


def _step(
    q: Tensor, g: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, state_BHNK: Tensor
) -> tuple[Tensor, Tensor]:
    q, g, k, v, a, b = (x.transpose(1, 2) for x in (q, g, k, v, a, b))
    u_BH1K = a @ state_BHNK
    # in place: at one token a second copy of the state would be most of the traffic
    state_BHNK.mul_(g.exp().mT).addcmul_(b.mT, u_BH1K).addcmul_(k.mT, v)
    return (q @ state_BHNK).transpose(1, 2), state_BHNK


def _plain(
    q: Tensor, g: Tensor, k: Tensor, v: Tensor, a: Tensor, b: Tensor, state_BHNK: Tensor
) -> tuple[Tensor, Tensor]:
    steps = []
    for q_BHN, g_BHN, k_BHN, v_BHK, a_BHN, b_BHN in zip(
        *(x.unbind(1) for x in (q, g, k, v, a, b)), strict=True
    ):
        u_BHK = (a_BHN[..., None] * state_BHNK).sum(-2)
        added_BHNK = b_BHN[..., None] * u_BHK[..., None, :] + k_BHN[..., None] * v_BHK[..., None, :]
        state_BHNK = g_BHN.exp()[..., None] * state_BHNK + added_BHNK
        steps.append((q_BHN[..., None] * state_BHNK).sum(-2))
    return torch.stack(steps, dim=1), state_BHNK


# (q_BTHN, g_BTHN, k_BTHN, v_BTHK, a_BTHN, b_BTHN, state_BHNK) → o (B, T, H, K) and the state after
# the last token; g, the log of the decays, from _fla.LOWEST to 0. Differentiable in every argument;
# all but g and the state may be narrower than those
generalised_delta_rule = Op(
    "generalised_delta_rule",
    Kernel("step", widened(_step), one_token=True, learns=False),
    Kernel(
        "fla",
        _fla.generalised_delta_rule,
        why_not=_fla.why_not,
        opaque=True,
        refuses=_fla.generalised_delta_rule_refuses,
    ),
    Kernel("chunked", _chunked, opaque=True),
    Kernel("plain", widened(_plain), opaque=True),
)


def generalised_delta_rule_flops(N: int, K: int, tokens: int) -> float:
    """Of a head, a token: four products of scores, what a reads of v, the solution, u, output,
    states in and out."""
    if tokens == 1:
        return 8 * N * K
    Q = chunk_length(tokens)
    return 8 * Q * N + 2 * Q * K + Q * (N + K) + 4 * Q * K + 8 * N * K
