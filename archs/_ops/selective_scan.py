"""Mamba-1's recurrence: a state of N numbers for each of E channels, its decay chosen by the input.

    h_t = exp(dt_t A) h_{t-1} + dt_t x_t B_t        y_t = C_t · h_t

Gu & Dao, Mamba, algorithm 2  https://arxiv.org/abs/2312.00752
Time is walked in blocks short enough for the (block, B, N, E) tensors to stay in cache; only the
state at each block's start is kept for the backward pass, which recomputes the rest. E is the
innermost axis, so every broadcast runs along long contiguous rows and the sums over N or E are
batched matrix products.
"""

import torch
from torch import Tensor

from archs._ops import Kernel, Op

CACHED_ELEMENTS = 2**17  # of one (block, B, N, E) tensor; a few of them fit a second-level cache


def _states(start_BNE: Tensor, decay: Tensor, dtx: Tensor, b: Tensor) -> Tensor:
    """start, then h after each step of a block: (steps + 1, B, N, E)."""
    states = start_BNE.new_empty(len(decay) + 1, *start_BNE.shape)
    states[0] = start_BNE
    torch.mul(b[..., None], dtx[:, :, None], out=states[1:])
    for t in range(len(decay)):
        states[t + 1].addcmul_(decay[t], states[t])
    return states


def _decay(dt: Tensor, a_NE: Tensor) -> Tensor:
    return torch.mul(dt[:, :, None], a_NE).exp_()


class SelectiveScan(torch.autograd.Function):
    """Inputs are time-major here, x (T, B, E), so that a block is one contiguous slice."""

    @staticmethod
    def forward(ctx, x, dt, a_NE, b, c, start_BNE):
        block = max(1, CACHED_ELEMENTS // start_BNE.numel())
        starts, y = [], torch.empty_like(x)
        state_BNE = start_BNE
        for at in (slice(t, t + block) for t in range(0, len(x), block)):
            starts.append(state_BNE)
            states = _states(state_BNE, _decay(dt[at], a_NE), dt[at] * x[at], b[at])
            y[at] = (c[at][:, :, None] @ states[1:])[:, :, 0]
            state_BNE = states[-1].clone()
        ctx.save_for_backward(x, dt, a_NE, b, c, *starts)
        ctx.block = block
        return y, state_BNE

    @staticmethod
    def backward(ctx, grad_y, grad_BNE):
        x, dt, a_NE, b, c, *starts = ctx.saved_tensors
        grads = grad_x, grad_dt, grad_b, grad_c = [torch.empty_like(v) for v in (x, dt, b, c)]
        grad_a = torch.zeros_like(a_NE)
        grad_BNE = grad_BNE.clone()
        for index in reversed(range(len(starts))):
            at = slice(index * ctx.block, (index + 1) * ctx.block)
            decay, dtx = _decay(dt[at], a_NE), dt[at] * x[at]
            states = _states(starts[index], decay, dtx, b[at])
            grad_c[at] = (states[1:] @ grad_y[at][..., None])[..., 0]

            # gradient of every state, the future's share flowing in from the right
            grad_h = c[at][..., None] * grad_y[at][:, :, None]
            for t in reversed(range(len(grad_h))):
                grad_h[t].add_(grad_BNE)
                torch.mul(decay[t], grad_h[t], out=grad_BNE)

            grad_dtx = (b[at][:, :, None] @ grad_h)[:, :, 0]
            grad_b[at] = (grad_h @ dtx[..., None])[..., 0]
            torch.mul(grad_dtx, dt[at], out=grad_x[at])
            grad_exponent = grad_h.mul_(states[:-1]).mul_(decay)  # of dt A
            grad_a += (grad_exponent * dt[at][:, :, None]).sum((0, 1))
            grad_dt[at] = grad_exponent.mul_(a_NE).sum(2).addcmul_(grad_dtx, x[at])
        return grads[0], grads[1], grad_a, grads[2], grads[3], grad_BNE


def _blocked(
    x_BTE: Tensor, dt_BTE: Tensor, a_EN: Tensor, b_BTN: Tensor, c_BTN: Tensor, state_BNE: Tensor
) -> tuple[Tensor, Tensor]:
    x, dt, b, c = (v.transpose(0, 1).contiguous() for v in (x_BTE, dt_BTE, b_BTN, c_BTN))
    with torch.autocast(x.device.type, enabled=False):  # the scan keeps its inputs' precision
        y, state_BNE = SelectiveScan.apply(x, dt, a_EN.T.contiguous(), b, c, state_BNE)
    return y.transpose(0, 1), state_BNE


def _step(
    x_B1E: Tensor, dt_B1E: Tensor, a_EN: Tensor, b_B1N: Tensor, c_B1N: Tensor, state_BNE: Tensor
) -> tuple[Tensor, Tensor]:
    decay_BNE = torch.exp(dt_B1E * a_EN.T)
    state_BNE = torch.addcmul(b_B1N.mT * (dt_B1E * x_B1E), decay_BNE, state_BNE)
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


# (x_BTE, dt_BTE, a_EN, b_BTN, c_BTN, state_BNE) → y (B, T, E) and the state after the last token;
# differentiable in every argument
selective_scan = Op(
    "selective_scan",
    Kernel("step", _step, one_token=True),
    Kernel("blocked", _blocked),
    Kernel("plain", _plain),
)
