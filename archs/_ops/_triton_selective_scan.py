"""Mamba-1's scan in Triton: a warp walks a chunk of time, the state of its channels in registers.

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t        y_t = C_t · h_t

Gu & Dao, Mamba, algorithm 2  https://arxiv.org/abs/2312.00752
A chunk inherits what those before it leave, as in _triton_linear_scan.py, whose scan passes it on;
of the states, that is all that is kept for the backward pass. It first walks forward again to write
the state before every SPAN steps, N / SPAN times the bytes of x while it lasts. Then it walks back,
carrying ∂h_{t-1} = exp(dt_t A) (∂h_t + C_t ∂y_t), a span at a time, of which it recomputes the
states and holds them in registers. The gradients of B and C are sums over channels: each warp
writes its own, and they are added up afterwards in a fixed order; for N up to 16 a warp has 32
channels, so these take N / 32 times the bytes of x. From N = 64 on registers spill: slower.

A warp's threads stand in a grid, 8 across the channels by 4 along N, and each holds neighbours in
both: a sum over either is mostly a thread's own, and it loads 16 bytes at once. Tensors have the
axes (of a thread's N, of its channels, across, along). What several threads share is spelt out for
each, because Triton lays every tensor over the whole warp, from the last axis on, and would
otherwise have to move it between threads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from archs._ops._triton_guard import cdiv, chunk_length, jit, tl
from archs._ops._triton_linear_scan import scan

ACROSS, ALONG = 8, 4
HELD = 16  # numbers of the state a thread holds, as far as N allows
SPAN = 4  # steps, whose states fill a thread's 255 registers without spilling


@jit
def _across(ACROSS: tl.constexpr):
    return tl.arange(0, ACROSS)[None, None, :, None]


@jit
def _along(ALONG: tl.constexpr):
    return tl.arange(0, ALONG)[None, None, None, :]


@jit
def _place(
    E, N, OWN_N: tl.constexpr, OWN_E: tl.constexpr, ACROSS: tl.constexpr, ALONG: tl.constexpr
):
    """A thread's n and e, and which of them exist."""
    own_n = tl.arange(0, OWN_N)[:, None, None, None]
    own_e = tl.arange(0, OWN_E)[None, :, None, None]
    across, along = _across(ACROSS), _along(ALONG)
    n = along * OWN_N + own_n + across * 0
    e = (tl.program_id(0) * ACROSS + across) * OWN_E + own_e + along * 0
    return n, e, n < N, e < E


@jit
def _piece(N, E):
    """Which chunk, of which sequence, and where its state starts in (B, chunks, N, E)."""
    piece, sequence = tl.program_id(1), tl.program_id(2).to(tl.int64)
    return piece, sequence, (sequence * tl.num_programs(1) + piece) * N * E


@jit
def _at(sequence, t, T, width, place, real):
    """Where step t is in (B, T, width), and whether it exists."""
    return (sequence * T + t) * width + place, real & (t < T)


@jit
def _read(values, at, there):
    """Zeros for what does not exist; with them, a step past the end leaves a state as it is."""
    return tl.load(values + at, mask=there, other=0.0)


@jit
def _log2_decay(a, in_state, real):
    """A / ln 2: the device has exp2, so A is scaled once instead of every dt A."""
    return _read(a, in_state, real) * 1.4426950408889634


@jit
def _over_n(v):
    return tl.sum(tl.sum(v, 0, keep_dims=True), 3, keep_dims=True)


@jit
def _over_channels(v):
    return tl.sum(tl.sum(v, 1, keep_dims=True), 2, keep_dims=True)


@jit
def _forward(
    x,
    dt,
    a,
    b,
    c,
    inherited,
    out,
    end,
    T,
    E,
    N,
    chunk,
    GIVES: tl.constexpr,
    SPAN: tl.constexpr,
    OWN_N: tl.constexpr,
    OWN_E: tl.constexpr,
    ACROSS: tl.constexpr,
    ALONG: tl.constexpr,
):
    """GIVES "y": every y, and the last chunk's end; "spans": the state before each span;
    "ends": what a chunk makes of a zero start, and in `out` its whole decay."""
    n, e, real_n, real_e = _place(E, N, OWN_N, OWN_E, ACROSS, ALONG)
    piece, sequence, own = _piece(N, E)
    in_state, real = n * E + e, real_n & real_e
    log2_decay = _log2_decay(a, in_state, real)
    if GIVES == "ends":
        h, past = tl.zeros_like(log2_decay), tl.zeros_like(log2_decay)
    else:
        h = _read(inherited, own + in_state, real)
    for start in range(piece * chunk, min(piece * chunk + chunk, T), SPAN):
        if GIVES == "spans":
            span = sequence * tl.cdiv(T, SPAN) + start // SPAN
            tl.store(out + span * N * E + in_state, h, mask=real)
        for i in tl.static_range(SPAN):
            at_e, there_e = _at(sequence, start + i, T, E, e, real_e)
            at_n, there_n = _at(sequence, start + i, T, N, n, real_n)
            dt_t = _read(dt, at_e, there_e)
            drive = _read(b, at_n, there_n) * (dt_t * _read(x, at_e, there_e))
            h = tl.exp2(dt_t * log2_decay) * h + drive
            if GIVES == "ends":
                past += dt_t
            if GIVES == "y":
                y_t = _over_n(_read(c, at_n, there_n) * h)
                tl.store(out + at_e, y_t, mask=there_e & (_along(ALONG) == 0))
    if GIVES == "ends":
        tl.store(out + own + in_state, tl.exp2(past * log2_decay), mask=real)
        tl.store(end + own + in_state, h, mask=real)
    if GIVES == "y" and piece == tl.num_programs(1) - 1:
        tl.store(end + sequence * N * E + in_state, h, mask=real)


@jit
def _back_ends(
    dt,
    a,
    c,
    grad_y,
    decay,
    end,
    T,
    E,
    N,
    chunk,
    SPAN: tl.constexpr,
    OWN_N: tl.constexpr,
    OWN_E: tl.constexpr,
    ACROSS: tl.constexpr,
    ALONG: tl.constexpr,
):
    """What a chunk, the first being the last in time, carries out if nothing is carried in."""
    n, e, real_n, real_e = _place(E, N, OWN_N, OWN_E, ACROSS, ALONG)
    piece, sequence, own = _piece(N, E)
    in_state, real = n * E + e, real_n & real_e
    log2_decay = _log2_decay(a, in_state, real)
    carried, past = tl.zeros_like(log2_decay), tl.zeros_like(log2_decay)
    last = tl.cdiv(T, SPAN) * SPAN - 1 - piece * chunk
    for back in range(0, chunk, SPAN):
        for i in tl.static_range(SPAN):
            at_e, there_e = _at(sequence, last - back - i, T, E, e, real_e)
            at_n, there_n = _at(sequence, last - back - i, T, N, n, real_n)
            dt_t = _read(dt, at_e, there_e)
            grad_h = carried + _read(c, at_n, there_n) * _read(grad_y, at_e, there_e)
            carried = tl.exp2(dt_t * log2_decay) * grad_h
            past += dt_t
    tl.store(decay + own + in_state, tl.exp2(past * log2_decay), mask=real)
    tl.store(end + own + in_state, carried, mask=real)


@jit
def _back(
    x,
    dt,
    a,
    b,
    c,
    grad_y,
    spans,
    inherited,
    grad_x,
    grad_dt,
    grad_a,
    grad_b,
    grad_c,
    grad_start,
    T,
    E,
    N,
    chunk,
    SPAN: tl.constexpr,
    OWN_N: tl.constexpr,
    OWN_E: tl.constexpr,
    ACROSS: tl.constexpr,
    ALONG: tl.constexpr,
):
    """Every gradient: of A a share from each chunk, of B and C one from each block of channels."""
    n, e, real_n, real_e = _place(E, N, OWN_N, OWN_E, ACROSS, ALONG)
    piece, sequence, own = _piece(N, E)
    in_state, real = n * E + e, real_n & real_e
    log2_decay = _log2_decay(a, in_state, real)
    carried = _read(inherited, own + in_state, real)
    share_a = tl.zeros_like(log2_decay)
    block = tl.program_id(0).to(tl.int64) * tl.num_programs(2) * T * N
    spans_in_chunk, spans_in_all = chunk // SPAN, tl.cdiv(T, SPAN)
    last = spans_in_all - 1 - piece * spans_in_chunk
    for span in range(last, max(last - spans_in_chunk, -1), -1):
        h = _read(spans, (sequence * spans_in_all + span) * N * E + in_state, real)
        states = (h,)  # before the span, then after each of its steps
        for i in tl.static_range(SPAN):
            at_e, there_e = _at(sequence, span * SPAN + i, T, E, e, real_e)
            at_n, there_n = _at(sequence, span * SPAN + i, T, N, n, real_n)
            dt_t = _read(dt, at_e, there_e)
            drive = _read(b, at_n, there_n) * (dt_t * _read(x, at_e, there_e))
            h = tl.exp2(dt_t * log2_decay) * h + drive
            states += (h,)
        for i in tl.static_range(SPAN - 1, -1, -1):
            at_e, there_e = _at(sequence, span * SPAN + i, T, E, e, real_e)
            at_n, there_n = _at(sequence, span * SPAN + i, T, N, n, real_n)
            x_t, dt_t = _read(x, at_e, there_e), _read(dt, at_e, there_e)
            grad_t = _read(grad_y, at_e, there_e)
            grad_h = carried + _read(c, at_n, there_n) * grad_t
            carried = tl.exp2(dt_t * log2_decay) * grad_h
            of_dta = carried * states[i]
            of_dtx = _over_n(grad_h * _read(b, at_n, there_n))
            of_dt = _over_n(of_dta * log2_decay) * 0.6931471805599453 + of_dtx * x_t  # times ln 2
            of_b = _over_channels(grad_h * (dt_t * x_t))
            of_c = _over_channels(grad_t * states[i + 1])
            share_a += of_dta * dt_t
            tl.store(grad_x + at_e, of_dtx * dt_t, mask=there_e & (_along(ALONG) == 0))
            tl.store(grad_dt + at_e, of_dt, mask=there_e & (_along(ALONG) == 0))
            tl.store(grad_b + block + at_n, of_b, mask=there_n & (_across(ACROSS) == 0))
            tl.store(grad_c + block + at_n, of_c, mask=there_n & (_across(ACROSS) == 0))
    tl.store(grad_a + own + in_state, share_a, mask=real)
    if piece == tl.num_programs(1) - 1:
        tl.store(grad_start + sequence * N * E + in_state, carried, mask=real)


def _launcher(x_BTE: Tensor, a_NE: Tensor):
    """What launches a kernel over a number of chunks, and the numbers of chunks and of blocks."""
    (B, T, E), N = x_BTE.shape, len(a_NE)
    own_n = max(1, (1 << (N - 1).bit_length()) // ALONG)  # Triton's axes are powers of two
    own_e = max(1, min(4, HELD // own_n))
    blocks = cdiv(E, ACROSS * own_e)
    chunk = chunk_length(T, B * blocks, SPAN)
    fixed = {"SPAN": SPAN, "OWN_N": own_n, "OWN_E": own_e, "ACROSS": ACROSS, "ALONG": ALONG}

    def launch(kernel, chunks: int, *tensors: Tensor | None, **gives: str) -> None:
        kernel[blocks, chunks, B](*tensors, T, E, N, chunk, **fixed, **gives, num_warps=1)

    return launch, cdiv(T, chunk), blocks


def _inherited(start_BNE: Tensor, decay_BCNE: Tensor, end_BCNE: Tensor) -> Tensor:
    """What each chunk starts from, given what all but the last do to a state."""
    decay, end, start = decay_BCNE.flatten(2), end_BCNE.flatten(2), start_BNE.flatten(1)
    return torch.cat([start_BNE[:, None], scan(decay, end, start).view_as(end_BCNE)], dim=1)


class SelectiveScan(torch.autograd.Function):
    """Its arguments are contiguous and of one dtype, which is also what sums are kept in."""

    @staticmethod
    def forward(ctx, x_BTE, dt_BTE, a_NE, b_BTN, c_BTN, start_BNE):
        launch, chunks, _ = _launcher(x_BTE, a_NE)
        inputs = x_BTE, dt_BTE, a_NE, b_BTN, c_BTN
        inherited_BCNE = start_BNE[:, None]
        if chunks > 1:
            ends = x_BTE.new_empty(2, len(x_BTE), chunks - 1, *a_NE.shape)
            launch(_forward, chunks - 1, *inputs, None, *ends, GIVES="ends")
            inherited_BCNE = _inherited(start_BNE, *ends)
        y_BTE, end_BNE = torch.empty_like(x_BTE), torch.empty_like(start_BNE)
        launch(_forward, chunks, *inputs, inherited_BCNE, y_BTE, end_BNE, GIVES="y")
        ctx.save_for_backward(*inputs, inherited_BCNE)
        return y_BTE, end_BNE

    @staticmethod
    def backward(ctx, grad_y, grad_end):
        *inputs, inherited_BCNE = ctx.saved_tensors
        x_BTE, dt_BTE, a_NE, b_BTN, c_BTN = inputs
        grad_y, grad_end = grad_y.contiguous(), grad_end.contiguous()
        launch, chunks, blocks = _launcher(x_BTE, a_NE)
        B, T, _ = x_BTE.shape
        spans = x_BTE.new_empty(B, cdiv(T, SPAN), *a_NE.shape)
        launch(_forward, chunks, *inputs, inherited_BCNE, spans, None, GIVES="spans")

        carried_BCNE = grad_end[:, None]
        if chunks > 1:
            ends = x_BTE.new_empty(2, B, chunks - 1, *a_NE.shape)
            launch(_back_ends, chunks - 1, dt_BTE, a_NE, c_BTN, grad_y, *ends)
            carried_BCNE = _inherited(grad_end, *ends)
        grads = grad_x, grad_dt, grad_a, grad_b, grad_c, grad_start = (
            torch.empty_like(x_BTE),
            torch.empty_like(dt_BTE),
            torch.empty_like(carried_BCNE),
            b_BTN.new_empty(blocks, *b_BTN.shape),
            c_BTN.new_empty(blocks, *c_BTN.shape),
            torch.empty_like(grad_end),
        )
        launch(_back, chunks, *inputs, grad_y, spans, carried_BCNE, *grads)
        return grad_x, grad_dt, grad_a.sum((0, 1)), grad_b.sum(0), grad_c.sum(0), grad_start


def selective_scan(
    x_BTE: Tensor, dt_BTE: Tensor, a_EN: Tensor, b_BTN: Tensor, c_BTN: Tensor, state_BNE: Tensor
) -> tuple[Tensor, Tensor]:
    arguments = x_BTE, dt_BTE, a_EN.T, b_BTN, c_BTN, state_BNE
    dtype = torch.promote_types(state_BNE.dtype, torch.float32)
    return SelectiveScan.apply(*(v.to(dtype).contiguous() for v in arguments))
