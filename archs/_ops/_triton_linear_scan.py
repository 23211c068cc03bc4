"""h_t = a_t h_{t-1} + b_t in Triton: a program walks a chunk of time for BLOCK channels.

Where sequences and channels alone would leave a GPU idle, time is cut into C chunks: one pass finds
what each chunk makes of a zero start, a scan over the chunks' ends what each inherits, and the last
pass walks again from there. In float32 the last reads and writes 12 bytes a step and channel, the
first reads 8.

The adjoint is such a walk too, from the last step to the first: what it carries is the gradient of
h_{t-1}, k_t = a_t (∂h_t + k_{t+1}). Step s is time t = s, or T - 1 - s where BACK.
"""

from __future__ import annotations

import torch
from torch import Tensor

from archs._ops._triton_guard import cdiv, chunk_length, jit, tl

BLOCK = 128  # channels: one warp that loads 16 bytes a thread
UNROLLED = 4  # steps whose loads are all on their way before the first store


@jit
def _place(T, E, chunk, BLOCK: tl.constexpr):
    """A program's channels and which of them exist, its sequence's first row, its first step."""
    e = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    return e, e < E, tl.program_id(2).to(tl.int64) * T, tl.program_id(1) * chunk


@jit
def _read(a, b, s, row, T, E, e, real, BACK: tl.constexpr, UNROLLED: tl.constexpr):
    """a, b and offset of each of the next steps; those past the end change nothing."""
    decays, drives, places = (), (), ()
    for i in tl.static_range(UNROLLED):
        t = T - 1 - s - i if BACK else s + i
        at = (row + t) * E + e
        there = real & (s + i < T)
        decays += (tl.load(a + at, mask=there, other=1.0),)
        drives += (tl.load(b + at, mask=there, other=0.0),)
        places += (at,)
    return decays, drives, places


@jit
def _chunk_ends(
    a,
    b,
    decay,
    end,
    T,
    E,
    chunk,
    BACK: tl.constexpr,
    BLOCK: tl.constexpr,
    UNROLLED: tl.constexpr,
):
    e, real, row, first = _place(T, E, chunk, BLOCK)
    h = tl.zeros([BLOCK], a.dtype.element_ty)
    total = h + 1.0
    for s in range(first, first + chunk, UNROLLED):
        decays, drives, _ = _read(a, b, s, row, T, E, e, real, BACK, UNROLLED)
        for i in tl.static_range(UNROLLED):
            h = decays[i] * (h + drives[i]) if BACK else decays[i] * h + drives[i]
            total *= decays[i]
    at = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)).to(tl.int64) * E + e
    tl.store(decay + at, total, mask=real)
    tl.store(end + at, h, mask=real)


@jit
def _walk(
    a,
    b,
    inherited,
    states,
    T,
    E,
    chunk,
    BLOCK: tl.constexpr,
    UNROLLED: tl.constexpr,
):
    e, real, row, first = _place(T, E, chunk, BLOCK)
    at = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)).to(tl.int64) * E + e
    h = tl.load(inherited + at, mask=real)
    for s in range(first, min(first + chunk, T), UNROLLED):
        decays, drives, places = _read(a, b, s, row, T, E, e, real, False, UNROLLED)
        for i in tl.static_range(UNROLLED):
            h = decays[i] * h + drives[i]
            tl.store(states + places[i], h, mask=real & (s + i < T))


@jit
def _walk_back(
    a,
    grad,
    states,
    start,
    inherited,
    grad_a,
    grad_b,
    T,
    E,
    chunk,
    BLOCK: tl.constexpr,
    UNROLLED: tl.constexpr,
):
    e, real, row, first = _place(T, E, chunk, BLOCK)
    at = (tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)).to(tl.int64) * E + e
    k = tl.load(inherited + at, mask=real)
    before_all = tl.load(start + tl.program_id(2).to(tl.int64) * E + e, mask=real)
    for s in range(first, min(first + chunk, T), UNROLLED):
        decays, grads, places = _read(a, grad, s, row, T, E, e, real, True, UNROLLED)
        befores = ()
        for i in tl.static_range(UNROLLED):
            before = tl.load(states + places[i] - E, mask=real & (s + i < T - 1), other=0.0)
            befores += (tl.where(s + i == T - 1, before_all, before),)
        for i in tl.static_range(UNROLLED):
            there = real & (s + i < T)
            g = grads[i] + k
            k = decays[i] * g
            tl.store(grad_a + places[i], g * befores[i], mask=there)
            tl.store(grad_b + places[i], g, mask=there)


def _inherited(a_BTE: Tensor, b_BTE: Tensor, start_BE: Tensor, chunk: int, back: bool) -> Tensor:
    """(B, C, E): what each chunk starts from, in the order of its steps."""
    B, T, E = a_BTE.shape
    if (ends := cdiv(T, chunk) - 1) == 0:
        return start_BE[:, None]
    decay_BCE, end_BCE = a_BTE.new_empty(2, B, ends, E)
    _chunk_ends[cdiv(E, BLOCK), ends, B](
        *(a_BTE, b_BTE, decay_BCE, end_BCE, T, E, chunk),
        **{"BACK": back, "BLOCK": BLOCK, "UNROLLED": UNROLLED, "num_warps": 1},
    )
    return torch.cat([start_BE[:, None], scan(decay_BCE, end_BCE, start_BE)], dim=1)


def scan(a_BTE: Tensor, b_BTE: Tensor, start_BE: Tensor) -> Tensor:
    """Every h_t, (B, T, E); its arguments contiguous, its gradient not taken."""
    B, T, E = a_BTE.shape
    chunk = chunk_length(T, B * cdiv(E, BLOCK), UNROLLED)
    inherited_BCE = _inherited(a_BTE, b_BTE, start_BE, chunk, back=False)
    h_BTE = torch.empty_like(b_BTE)
    _walk[cdiv(E, BLOCK), cdiv(T, chunk), B](
        *(a_BTE, b_BTE, inherited_BCE, h_BTE, T, E, chunk),
        **{"BLOCK": BLOCK, "UNROLLED": UNROLLED, "num_warps": 1},
    )
    return h_BTE


class LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx, a_BTE, b_BTE, start_BE):
        h_BTE = scan(a_BTE, b_BTE, start_BE)
        ctx.save_for_backward(a_BTE, h_BTE, start_BE)
        return h_BTE

    @staticmethod
    def backward(ctx, grad_BTE):
        a_BTE, h_BTE, start_BE = ctx.saved_tensors
        grad_BTE = grad_BTE.contiguous()
        B, T, E = a_BTE.shape
        chunk = chunk_length(T, B * cdiv(E, BLOCK), UNROLLED)
        none_BE = torch.zeros_like(start_BE)
        inherited_BCE = _inherited(a_BTE, grad_BTE, none_BE, chunk, back=True)
        grad_a, grad_b = torch.empty_like(a_BTE), torch.empty_like(a_BTE)
        _walk_back[cdiv(E, BLOCK), cdiv(T, chunk), B](
            *(a_BTE, grad_BTE, h_BTE, start_BE, inherited_BCE, grad_a, grad_b, T, E, chunk),
            **{"BLOCK": BLOCK, "UNROLLED": UNROLLED, "num_warps": 1},
        )
        return grad_a, grad_b, grad_b[:, 0] * a_BTE[:, 0]


def linear_scan(a_BTE: Tensor, b_BTE: Tensor, h_BE: Tensor) -> Tensor:
    dtype = torch.promote_types(h_BE.dtype, torch.float32)
    return LinearScan.apply(*(v.to(dtype).contiguous() for v in (a_BTE, b_BTE, h_BE)))
