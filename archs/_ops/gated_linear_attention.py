"""Linear attention with decays: a matrix (N, K) a head, each of whose N rows fades on its own.

    S_t = diag(exp g_t) S_{t-1} + k_t v_tᵀ        o_t = S_tᵀ q_t

Yang et al., Gated Linear Attention Transformers  https://arxiv.org/abs/2312.06635
A chunk's outputs are attention-like, A V with A_ts = Σ_n q_tn k_sn exp(G_tn - G_sn), G the sums of
g. One decay a head is a factor of each score. With N of them it is of each term, and exp(G_t) or
exp(-G_s) alone may overflow: `DecayedScores` takes a chunk apart into halves, and every exponent
from the border between them, where none is above 0.
"""

from collections.abc import Iterator

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


def _halvings(Q: int) -> Iterator[int]:
    while Q := Q // 2:
        yield Q


def _early_late(x: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """The first and second halves, (..., pairs, half, N), of each pair of a chunk (..., Q, N)."""
    return x.unflatten(-2, (-1, 2, half)).unbind(-3)


def _from_border(log_decay: Tensor, half: int) -> tuple[Tensor, Tensor]:
    """The decay from each early token to the border of its pair, and from it to each late one."""
    early, late = _early_late(log_decay, half)
    border = early[..., -1:, :]
    return (border - early).exp_(), (late - border).exp_()


def _late_by_early(scores_QQ: Tensor, half: int) -> Tensor:
    """A view of the scores between the halves of each pair, (..., pairs, half, half)."""
    pairs = scores_QQ.shape[-1] // (2 * half)
    blocks = scores_QQ.unflatten(-1, (pairs, 2 * half)).unflatten(-3, (pairs, 2 * half))
    return blocks.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)[..., half:, :half]


class DecayedScores(torch.autograd.Function):
    """(q, k, log_decay), each (..., Q, N), to the lower triangle of A (..., Q, Q)."""

    @staticmethod
    def forward(ctx, q, k, log_decay):
        scores = q.new_zeros(*q.shape[:-1], q.shape[-2])
        scores.diagonal(dim1=-2, dim2=-1).copy_((q * k).sum(-1))
        for half in _halvings(q.shape[-2]):
            to_border, from_border = _from_border(log_decay, half)
            k_early, q_late = _early_late(k, half)[0], _early_late(q, half)[1]
            _late_by_early(scores, half).copy_(
                from_border.mul_(q_late) @ to_border.mul_(k_early).mT
            )
        ctx.save_for_backward(q, k, log_decay)
        return scores

    @staticmethod
    def backward(ctx, grad):
        q, k, log_decay = ctx.saved_tensors
        on_itself = grad.diagonal(dim1=-2, dim2=-1)[..., None]
        grad_q, grad_k = on_itself * k, on_itself * q
        for half in _halvings(q.shape[-2]):
            to_border, from_border = _from_border(log_decay, half)
            k_early, q_late = _early_late(k, half)[0], _early_late(q, half)[1]
            block = _late_by_early(grad, half)
            _early_late(grad_q, half)[1].addcmul_(block @ (to_border * k_early), from_border)
            _early_late(grad_k, half)[0].addcmul_(block.mT @ (from_border * q_late), to_border)
        return grad_q, grad_k, q * grad_q - k * grad_k


@by_chunks
def _chunked(
    q: Tensor, k: Tensor, v: Tensor, g: Tensor, state_BHNK: Tensor
) -> tuple[Tensor, Tensor]:
    log_decay = g.cumsum(-2)
    if g.shape[-1] == 1:
        scores = (q @ k.mT) * decay_between(log_decay[..., 0])
    else:
        scores = DecayedScores.apply(q, k, log_decay)

    # what each chunk adds to the state by its end, and the state each starts from
    end = log_decay[..., -1:, :]
    added = (k * (end - log_decay).exp()).mT @ v
    state, starts = state_BHNK.flatten(0, 1), []
    for by_chunk, whole in each_chunk(added, end.exp().mT):
        starts.append(state)
        state = torch.addcmul(by_chunk, whole, state)
    y = scores @ v + (q * log_decay.exp()) @ all_chunks(starts, q.shape[1])
    return y, state.view_as(state_BHNK)


def _step(q: Tensor, k: Tensor, v: Tensor, g: Tensor, state_BHNK: Tensor) -> tuple[Tensor, Tensor]:
    q_BH1N, k_BH1N, v_BH1K, g_BH1N = (x.transpose(1, 2) for x in (q, k, v, g))
    # in place: at one token a second copy of the state would be most of the traffic
    state_BHNK.mul_(g_BH1N.exp().mT).addcmul_(k_BH1N.mT, v_BH1K)
    return (q_BH1N @ state_BHNK).transpose(1, 2), state_BHNK


def _plain(q: Tensor, k: Tensor, v: Tensor, g: Tensor, state_BHNK: Tensor) -> tuple[Tensor, Tensor]:
    steps = []
    for q_BHN, k_BHN, v_BHK, g_BHN in zip(*(x.unbind(1) for x in (q, k, v, g)), strict=True):
        added_BHNK = k_BHN[..., None] * v_BHK[..., None, :]
        state_BHNK = g_BHN.exp()[..., None] * state_BHNK + added_BHNK
        steps.append((q_BHN[..., None] * state_BHNK).sum(-2))
    return torch.stack(steps, dim=1), state_BHNK


# (q_BTHN, k_BTHN, v_BTHK, g_BTHN, state_BHNK) → o (B, T, H, K) and the state after the last token;
# g, the log of the decays and at most 0, may be (B, T, H, 1): one a head. Differentiable in every
# argument; q, k and v may be narrower than the rest
gated_linear_attention = Op(
    "gated_linear_attention",
    Kernel("step", widened(_step), one_token=True, learns=False),
    Kernel(
        "fla",
        _fla.gated_linear_attention,
        why_not=_fla.why_not,
        opaque=True,
        refuses=_fla.gated_linear_attention_refuses,
        suits=on_tensor_cores,
    ),
    Kernel("chunked", _chunked, opaque=True),
    Kernel("plain", widened(_plain), opaque=True),
)


def gated_linear_attention_flops(N: int, K: int, decays: int, tokens: int) -> float:
    """Of a head, a token. Scores are products over N, halved where each has its own decay."""
    if tokens == 1:
        return 4 * N * K
    Q = chunk_length(tokens)
    return (2 * Q * N if decays == 1 else (Q + 1) * N) + 2 * Q * K + 4 * N * K
