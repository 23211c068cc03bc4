"""Time in chunks: what the ops share whose state is a matrix (N, K) a head.

Within a chunk of Q tokens everything is a matrix product; from chunk to chunk the state is carried
by a loop. Work is linear in T. Below, C counts chunks and log decays are summed from each chunk's
start, so that exp of a difference is the decay between two of its tokens.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import wraps

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 32  # tokens: more means more scores, fewer more states; the fastest on CPU


def chunk_length(tokens: int) -> int:
    """Q, a power of two."""
    return min(CHUNK, 1 << (tokens - 1).bit_length())


def fold(x_BTHX: Tensor) -> Tensor:
    """(B, T, H, X) to (B, H, C, Q, X), contiguous, zeros at the end of time."""
    B, T, H, X = x_BTHX.shape
    Q = chunk_length(T)
    if pad := -T % Q:
        x_BTHX = F.pad(x_BTHX, (0, 0, 0, 0, 0, pad))
    return x_BTHX.reshape(B, -1, Q, H, X).permute(0, 3, 1, 2, 4).contiguous()


def unfold(y_BHCQX: Tensor, tokens: int) -> Tensor:
    """Back to (B, T, H, X)."""
    return y_BHCQX.flatten(2, 3).transpose(1, 2)[:, :tokens]


def each_chunk(*xs_BHC: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors (B, H, C, ...) chunk by chunk, (B H, ...). By unbind, not indexing: the backward of
    every [:, i] would allocate zeros the size of the whole."""
    return zip(*(x.flatten(0, 1).unbind(1) for x in xs_BHC), strict=True)


def all_chunks(chunks: Sequence[Tensor], heads: int) -> Tensor:
    """Tensors (B H, ...) of every chunk to (B, H, C, ...)."""
    return torch.stack(tuple(chunks), 1).unflatten(0, (-1, heads))


class _DecayBetween(torch.autograd.Function):
    @staticmethod
    def forward(ctx, log_decay):
        between = log_decay[..., :, None] - log_decay[..., None, :]
        # within what exp takes and gives as normal numbers: on a CPU all others, and -inf for what
        # lies ahead, cost it up to fifty times as much
        most = -math.log(torch.finfo(between.dtype).tiny)
        decay = between.clamp_(-most, most).exp_().tril_()
        ctx.save_for_backward(decay)
        return decay

    @staticmethod
    def backward(ctx, grad):
        (decay,) = ctx.saved_tensors
        grad_between = grad * decay
        return grad_between.sum(-1) - grad_between.sum(-2)


def decay_between(log_decay: Tensor) -> Tensor:
    """exp of the sum of log decays over (s, t], for s <= t; 0 above the diagonal.

    `log_decay` (..., Q) is cumulative; the result is (..., Q, Q). What decays to less than the
    least normal number stays there.
    """
    decay: Tensor = _DecayBetween.apply(log_decay)
    return decay


Run = Callable[..., tuple[Tensor, Tensor]]


def widened(run: Run) -> Run:
    """`run` in the precision of the state, its last argument."""

    @wraps(run)
    def kernel(*call: Tensor) -> tuple[Tensor, Tensor]:
        *inputs, state = call
        return run(*(v.to(state.dtype) for v in inputs), state)

    return kernel


def by_chunks(run: Run) -> Run:
    """`run`, which never sees autocast, on folded inputs; its output is unfolded."""

    @wraps(run)
    def kernel(*call: Tensor) -> tuple[Tensor, Tensor]:
        *inputs, state = call
        device = state.device.type
        keeps = torch.amp.is_autocast_available(device)  # the state keeps its precision
        with torch.autocast(device, enabled=False) if keeps else nullcontext():
            y_BHCQK, state = run(*(fold(v.to(state.dtype)) for v in inputs), state)
        return unfold(y_BHCQK, inputs[0].shape[1]), state

    return kernel
