"""Mamba-1's recurrence: a state of N numbers for each of E channels, its decay chosen by the input.

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t        y_t = C_t · h_t

Gu & Dao, Mamba, algorithm 2  https://arxiv.org/abs/2312.00752
`blocked` walks time in blocks short enough for the (block, B, N, E) tensors to stay in cache; only
the state at each block's start is kept for the backward pass, which recomputes the rest. E is the
innermost axis, so every broadcast runs along long contiguous rows and the sums over N or E are
batched matrix products. A batch too large for blocks of several steps is split.
"""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from archs._ops import Kernel, Op, _mamba_ssm, _triton_guard, _triton_selective_scan

CACHED_ELEMENTS = 2**18  # of one (block, B, N, E) tensor: a few megabytes are at work at a time
MIN_BLOCK = 8  # steps; fewer would keep most states after all


def _advance(
    states: Tensor,
    decay: Tensor,
    start_BNE: Tensor,
    dt: Tensor,
    dtx: Tensor,
    a_NE: Tensor,
    b: Tensor,
) -> tuple[Tensor, Tensor]:
    """One block, in place: its decays, and start followed by h after each of its steps."""
    states, decay = states[: len(dt) + 1], decay[: len(dt)]
    torch.mul(dt[:, :, None], a_NE, out=decay).exp_()
    torch.mul(b[..., None], dtx[:, :, None], out=states[1:])
    before, *later = states.unbind()
    before.copy_(start_BNE)
    for decay_BNE, state_BNE in zip(decay.unbind(), later, strict=True):
        before = state_BNE.addcmul_(decay_BNE, before)
    return states, decay


class SelectiveScan(torch.autograd.Function):
    """Inputs are time-major here, x (T, B, E), so that a block is one contiguous slice.

    Blocks share their buffers: fresh ones would cost more in page faults than the arithmetic.
    """

    @staticmethod
    def forward(ctx, x, dt, a_NE, b, c, start_BNE):
        block = max(1, min(len(x), CACHED_ELEMENTS // start_BNE.numel()))
        decay = start_BNE.new_empty(block, *start_BNE.shape)
        states = start_BNE.new_empty(block + 1, *start_BNE.shape)
        starts, y, dtx, state_BNE = [], torch.empty_like(x), dt * x, start_BNE
        for at in (slice(t, t + block) for t in range(0, len(x), block)):
            starts.append(state_BNE)
            seen, _ = _advance(states, decay, state_BNE, dt[at], dtx[at], a_NE, b[at])
            y[at] = (c[at][:, :, None] @ seen[1:])[:, :, 0]
            state_BNE = seen[-1].clone()
        ctx.save_for_backward(x, dt, a_NE, b, c, *starts)
        ctx.block = block
        return y, state_BNE

    @staticmethod
    def backward(ctx, grad_y, grad_BNE):
        x, dt, a_NE, b, c, *starts = ctx.saved_tensors
        grad_y = grad_y.contiguous()
        grad_x, grad_dt, grad_b, grad_c = (torch.empty_like(v) for v in (x, dt, b, c))
        grad_a, grad_BNE, dtx = torch.zeros_like(a_NE), grad_BNE.clone(), dt * x
        shape = (ctx.block, *grad_BNE.shape)
        decay, grad_states, product = (grad_BNE.new_empty(shape) for _ in range(3))
        states = grad_BNE.new_empty(ctx.block + 1, *grad_BNE.shape)
        for index in reversed(range(len(starts))):
            at = slice(index * ctx.block, (index + 1) * ctx.block)
            seen, fade = _advance(states, decay, starts[index], dt[at], dtx[at], a_NE, b[at])
            scratch = product[: len(fade)]
            grad_c[at] = (grad_y[at][:, :, None] @ seen[1:].mT)[:, :, 0]

            # gradient of every state, the future's share flowing in from the right
            grad_h = grad_states[: len(fade)]
            torch.mul(c[at][..., None], grad_y[at][:, :, None], out=grad_h)
            *earlier, after = grad_h.unbind()
            after.add_(grad_BNE)
            for decay_BNE, grad in zip(reversed(fade[1:].unbind()), reversed(earlier), strict=True):
                after = grad.addcmul_(decay_BNE, after)
            torch.mul(fade[0], after, out=grad_BNE)

            grad_dtx = (b[at][:, :, None] @ grad_h)[:, :, 0]
            grad_b[at] = (dtx[at][:, :, None] @ grad_h.mT)[:, :, 0]
            torch.mul(grad_dtx, dt[at], out=grad_x[at])
            grad_exponent = grad_h.mul_(seen[:-1]).mul_(fade)  # of dt A
            grad_a += torch.mul(grad_exponent, dt[at][:, :, None], out=scratch).sum((0, 1))
            torch.sum(grad_exponent.mul_(a_NE), 2, out=grad_dt[at]).addcmul_(grad_dtx, x[at])
        return grad_x, grad_dt, grad_a, grad_b, grad_c, grad_BNE


def _blocked(
    x_BTE: Tensor, dt_BTE: Tensor, a_EN: Tensor, b_BTN: Tensor, c_BTN: Tensor, state_BNE: Tensor
) -> tuple[Tensor, Tensor]:
    rows = max(1, CACHED_ELEMENTS // (MIN_BLOCK * a_EN.numel()))
    a_NE, ys, states = a_EN.T.contiguous(), [], []
    pieces = (v.split(rows) for v in (x_BTE, dt_BTE, b_BTN, c_BTN, state_BNE))
    with torch.autocast(x_BTE.device.type, enabled=False):  # the scan keeps its inputs' precision
        for *batch_major, start_BNE in zip(*pieces, strict=True):
            x, dt, b, c = (v.transpose(0, 1).contiguous() for v in batch_major)
            y, state_BNE = SelectiveScan.apply(x, dt, a_NE, b, c, start_BNE)
            ys.append(y.transpose(0, 1))
            states.append(state_BNE)
    if len(ys) == 1:
        return ys[0], states[0]
    return torch.cat(ys), torch.cat(states)


def _step(
    x_B1E: Tensor, dt_B1E: Tensor, a_EN: Tensor, b_B1N: Tensor, c_B1N: Tensor, state_BNE: Tensor
) -> tuple[Tensor, Tensor]:
    state_BNE.mul_((dt_B1E * a_EN.T).exp_()).addcmul_(b_B1N.mT, dt_B1E * x_B1E)
    return c_B1N @ state_BNE, state_BNE


def _plain(
    x_BTE: Tensor, dt_BTE: Tensor, a_EN: Tensor, b_BTN: Tensor, c_BTN: Tensor, state_BNE: Tensor
) -> tuple[Tensor, Tensor]:
    steps = []
    for x_BE, dt_BE, b_BN, c_BN in zip(
        *(v.unbind(1) for v in (x_BTE, dt_BTE, b_BTN, c_BTN)), strict=True
    ):
        decay_BNE = torch.exp(dt_BE[:, None] * a_EN.T)
        state_BNE = decay_BNE * state_BNE + b_BN[..., None] * (dt_BE * x_BE)[:, None]
        steps.append((c_BN[..., None] * state_BNE).sum(1))
    return torch.stack(steps, dim=1), state_BNE


def _from_zeros(run: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., object]:
    """`run`, for which no state stands for one of zeros, and none is then returned."""

    @wraps(run)
    def kernel(x_BTE, dt_BTE, a_EN, b_BTN, c_BTN, state_BNE):
        if state_BNE is not None:
            return run(x_BTE, dt_BTE, a_EN, b_BTN, c_BTN, state_BNE)
        zeros_BNE = x_BTE.new_zeros(len(x_BTE), *a_EN.T.shape)
        return run(x_BTE, dt_BTE, a_EN, b_BTN, c_BTN, zeros_BNE)[0], None

    return kernel


# (x_BTE, dt_BTE, a_EN, b_BTN, c_BTN, state_BNE) → y (B, T, E) and the state after the last token,
# or from no state (None) y and None; differentiable in every argument
selective_scan = Op(
    "selective_scan",
    Kernel(
        "mamba-ssm-step",
        _mamba_ssm.selective_step,
        why_not=_mamba_ssm.why_not_step,
        opaque=True,
        refuses=_mamba_ssm.selective_step_refuses,
        one_token=True,
        learns=False,
    ),
    Kernel("step", _from_zeros(_step), one_token=True, learns=False),
    Kernel(
        "mamba-ssm",
        _mamba_ssm.selective_scan,
        why_not=_mamba_ssm.why_not_scan,
        opaque=True,
        refuses=_mamba_ssm.selective_scan_refuses,
    ),
    Kernel(
        "triton",
        _from_zeros(_triton_selective_scan.selective_scan),
        why_not=_triton_guard.why_not,
        opaque=True,
    ),
    Kernel("blocked", _from_zeros(_blocked), opaque=True),
    Kernel("plain", _from_zeros(_plain), opaque=True),
)
