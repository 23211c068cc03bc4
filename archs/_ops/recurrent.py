"""The nonlinear recurrences: Elman, GRU, LSTM. Time is a loop, since h_t needs h_{t-1} first.

Weights are torch.nn.RNN's, GRU's and LSTM's, gate order included. The input's products are hoisted
out of the loop as one matrix product. The `stored` kernels have a hand-written backward, which
keeps what the forward pass computed and gathers each weight's gradient in one product at the end;
torch's own loop does a small product and several small allocations a step. `torch` is the
library's, oneDNN for LSTM on CPU; where it is cuDNN's it is named `cudnn`.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from archs._ops import Kernel, Op, on

Weights = tuple[Tensor, Tensor, Tensor, Tensor]  # input, hidden, input bias, hidden bias


class _Elman(torch.autograd.Function):
    """h_t = tanh(u_t + W h_{t-1}); u (T, B, E) already holds the input's share and the biases."""

    @staticmethod
    def forward(ctx, u, weight_EE, h_BE):
        states = torch.empty_like(u)
        before, weight_t = h_BE, weight_EE.t()
        for u_BE, state_BE in zip(u.unbind(), states.unbind(), strict=True):
            before = torch.addmm(u_BE, before, weight_t, out=state_BE).tanh_()
        ctx.save_for_backward(states, weight_EE, h_BE)
        return states

    @staticmethod
    def backward(ctx, grad_states):
        states, weight_EE, h_BE = ctx.saved_tensors
        grad_u = torch.addcmul(grad_states.new_ones(()), states, states, value=-1)  # tanh'
        grad_h = torch.zeros_like(h_BE)
        steps = zip(grad_u.unbind(), grad_states.unbind(), strict=True)
        for grad_u_BE, grad_BE in reversed(list(steps)):
            grad_u_BE.mul_(grad_h.add_(grad_BE))
            torch.mm(grad_u_BE, weight_EE, out=grad_h)
        before = torch.cat([h_BE[None], states[:-1]])
        return grad_u, grad_u.flatten(0, 1).t() @ before.flatten(0, 1), grad_h


class _GRU(torch.autograd.Function):
    """r, z = σ(u + W h), n = tanh(u_n + r (W_n h + b_n)), h' = n + z (h - n)."""

    @staticmethod
    def forward(ctx, u, weight, bias, h_BE):
        T, B, E = len(u), *h_BE.shape
        states, hidden, n = u.new_empty(T + 1, B, E), torch.empty_like(u), u.new_empty(T, B, E)
        states[0] = h_BE
        weight_t, before = weight.t(), states[0]
        u_rz, u_n = u[..., : 2 * E], u[..., 2 * E :]
        rz, hidden_n = hidden[..., : 2 * E], hidden[..., 2 * E :]  # σ(…) in place, W_n h + b_n
        r, z = rz[..., :E], rz[..., E:]
        steps = (v.unbind() for v in (hidden, u_rz, rz, u_n, r, hidden_n, n, z, states[1:]))
        for hidden_t, u_rz_t, rz_t, u_n_t, r_t, hidden_n_t, n_t, z_t, state_t in zip(
            *steps, strict=True
        ):
            torch.addmm(bias, before, weight_t, out=hidden_t)
            rz_t.add_(u_rz_t).sigmoid_()
            torch.addcmul(u_n_t, r_t, hidden_n_t, out=n_t).tanh_()
            before = torch.lerp(n_t, before, z_t, out=state_t)
        ctx.save_for_backward(states, hidden, n, weight)
        return states[1:]

    @staticmethod
    def backward(ctx, grad_states):
        states, hidden, n, weight = ctx.saved_tensors
        r, z, hidden_n = hidden.chunk(3, dim=-1)
        E = n.shape[-1]
        # every factor that does not wait for a later step's gradient, for all steps at once
        factors = torch.empty(*n.shape[:2], 3, E, dtype=n.dtype)  # of r, z, W_n h before their σ
        to_n = torch.addcmul(n.new_ones(()), n, n, value=-1).mul_(1 - z)
        torch.mul(to_n, r, out=factors[:, :, 2])
        torch.mul(torch.sub(states[:-1], n), torch.addcmul(z, z, z, value=-1), out=factors[:, :, 1])
        torch.mul(factors[:, :, 2] * hidden_n, 1 - r, out=factors[:, :, 0])

        grad_hidden, totals = torch.empty_like(factors), torch.empty_like(n)
        product = torch.zeros_like(states[0])
        grad_h = torch.zeros_like(states[0])
        weight_t = weight.t().contiguous().t()  # rows as long as the product: the faster layout
        steps = (v.unbind() for v in (grad_states, totals, totals[:, :, None], factors, z))
        hidden = (grad_hidden.unbind(), grad_hidden.flatten(2).unbind())
        for grad_t, total_t, total_t1, factor_t, z_t, grad_hidden_t, flat_t in reversed(
            list(zip(*steps, *hidden, strict=True))
        ):
            torch.add(grad_h.add_(product), grad_t, out=total_t)
            torch.mul(factor_t, total_t1, out=grad_hidden_t)
            torch.mm(flat_t, weight_t, out=product)
            torch.mul(total_t, z_t, out=grad_h)
        grad_h.add_(product)
        grad_u = torch.cat([grad_hidden[:, :, :2].flatten(2), to_n.mul_(totals)], dim=-1)
        grad_hidden = grad_hidden.flatten(2).flatten(0, 1)
        grad_weight = grad_hidden.t() @ states[:-1].flatten(0, 1)
        return grad_u, grad_weight, grad_hidden.sum(0), grad_h


def _elman_plain(x_BTD: Tensor, weights: Weights, h_BE: Tensor) -> Tensor:
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    steps = []
    for u_BE in F.linear(x_BTD, weight_ih, bias_ih + bias_hh).unbind(1):
        h_BE = torch.tanh(u_BE + F.linear(h_BE, weight_hh))
        steps.append(h_BE)
    return torch.stack(steps, dim=1)


def _elman_stored(x_BTD: Tensor, weights: Weights, h_BE: Tensor) -> Tensor:
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    u = F.linear(x_BTD, weight_ih, bias_ih + bias_hh)
    u = u.transpose(0, 1).to(weight_hh.dtype).contiguous()
    with torch.autocast("cpu", enabled=False):  # the loop keeps its weights' precision
        return _Elman.apply(u, weight_hh, h_BE).transpose(0, 1)


def _elman_torch(x_BTD: Tensor, weights: Weights, h_BE: Tensor, train: bool = False) -> Tensor:
    return torch.rnn_tanh(x_BTD, h_BE[None], list(weights), True, 1, 0.0, train, False, True)[0]


def _elman_cell(x_B1D: Tensor, weights: Weights, h_BE: Tensor) -> Tensor:
    return torch.rnn_tanh_cell(x_B1D[:, 0], h_BE, *weights)[:, None]


def _gru_plain(x_BTD: Tensor, weights: Weights, h_BE: Tensor) -> Tensor:
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    steps = []
    for u_BG in F.linear(x_BTD, weight_ih, bias_ih).unbind(1):
        u_r, u_z, u_n = u_BG.chunk(3, dim=-1)
        hidden_r, hidden_z, hidden_n = F.linear(h_BE, weight_hh, bias_hh).chunk(3, dim=-1)
        r_BE, z_BE = torch.sigmoid(u_r + hidden_r), torch.sigmoid(u_z + hidden_z)
        n_BE = torch.tanh(u_n + r_BE * hidden_n)
        h_BE = n_BE + z_BE * (h_BE - n_BE)
        steps.append(h_BE)
    return torch.stack(steps, dim=1)


def _gru_stored(x_BTD: Tensor, weights: Weights, h_BE: Tensor) -> Tensor:
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    u = F.linear(x_BTD, weight_ih, bias_ih).transpose(0, 1).to(weight_hh.dtype).contiguous()
    with torch.autocast("cpu", enabled=False):  # the loop keeps its weights' precision
        return _GRU.apply(u, weight_hh, bias_hh, h_BE).transpose(0, 1)


def _gru_torch(x_BTD: Tensor, weights: Weights, h_BE: Tensor, train: bool = False) -> Tensor:
    return torch.gru(x_BTD, h_BE[None], list(weights), True, 1, 0.0, train, False, True)[0]


def _gru_cell(x_B1D: Tensor, weights: Weights, h_BE: Tensor) -> Tensor:
    return torch.gru_cell(x_B1D[:, 0], h_BE, *weights)[:, None]


def _lstm_plain(
    x_BTD: Tensor, weights: Weights, h_BE: Tensor, c_BE: Tensor
) -> tuple[Tensor, Tensor]:
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    steps = []
    for u_BG in F.linear(x_BTD, weight_ih, bias_ih + bias_hh).unbind(1):
        i_BE, f_BE, g_BE, o_BE = (u_BG + F.linear(h_BE, weight_hh)).chunk(4, dim=-1)
        c_BE = f_BE.sigmoid() * c_BE + i_BE.sigmoid() * g_BE.tanh()
        h_BE = o_BE.sigmoid() * c_BE.tanh()
        steps.append(h_BE)
    return torch.stack(steps, dim=1), c_BE


def _lstm_torch(
    x_BTD: Tensor, weights: Weights, h_BE: Tensor, c_BE: Tensor, train: bool = False
) -> tuple[Tensor, Tensor]:
    hidden = (h_BE[None], c_BE[None])
    y_BTE, _, c_1BE = torch.lstm(x_BTD, hidden, list(weights), True, 1, 0.0, train, False, True)
    return y_BTE, c_1BE[0]


def _lstm_refuses(x_BTD: Tensor, *rest: Any) -> str | None:
    """oneDNN's LSTM in bfloat16 is for processors with AVX-512 or better, and fails on others."""
    if x_BTD.device.type != "cpu":
        return None
    autocast = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if autocast else x_BTD.dtype
    if dtype != torch.bfloat16 or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return None
    return "oneDNN has no bfloat16 LSTM for this processor"


def _lstm_cell(
    x_B1D: Tensor, weights: Weights, h_BE: Tensor, c_BE: Tensor
) -> tuple[Tensor, Tensor]:
    h_BE, c_BE = torch.lstm_cell(x_B1D[:, 0], (h_BE, c_BE), *weights)
    return h_BE[:, None], c_BE


def _by_cudnn(run: Callable[..., Any]) -> Callable[..., Any]:
    """`run` as cuDNN wants it: in one precision, which autocast by itself would make float16; the
    weights in one buffer in its order, or torch makes one a call, with a warning; and told ahead
    to keep what a backward pass needs."""

    @wraps(run)
    def kernel(x_BTD: Tensor, weights: Weights, *states: Tensor) -> Any:
        device, dtype = x_BTD.device.type, x_BTD.dtype
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
        buffer = torch.cat([weight.flatten().to(dtype) for weight in weights])
        parts = buffer.split([weight.numel() for weight in weights])
        views = [part.view_as(weight) for part, weight in zip(parts, weights, strict=True)]
        starts = (state.to(dtype) for state in states)
        with torch.autocast(device, enabled=False):
            return run(x_BTD.to(dtype), views, *starts, train=torch.is_grad_enabled())

    return kernel


def _no_cudnn(device: torch.device) -> str | None:
    if device.type != "cuda":
        return f"it runs on cuda, not on {device.type}"
    return None if torch.backends.cudnn.is_available() else "this torch has no cuDNN"


def _is_cudnn(device: torch.device) -> str | None:
    return "here torch's is cuDNN's, which is named cudnn" if _no_cudnn(device) is None else None


def _learns(x_BTD: Tensor, weights: Weights, *states: Tensor) -> bool:
    return torch.is_grad_enabled()


# (x_BTD, weights, h_BE) → every h_t, (B, T, E); tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)
elman = Op(
    "elman",
    Kernel("cell", _elman_cell, why_not=on("cpu", "cuda"), one_token=True),
    Kernel("stored", _elman_stored, why_not=on("cpu"), opaque=True),
    Kernel("cudnn", _by_cudnn(_elman_torch), why_not=_no_cudnn, opaque=True),
    Kernel("torch", _elman_torch, why_not=_is_cudnn, opaque=True),
    Kernel("plain", _elman_plain, opaque=True),
)
# (x_BTD, weights, h_BE) → every h_t, (B, T, E); torch.nn.GRU's recurrence
gru = Op(
    "gru",
    Kernel("cell", _gru_cell, why_not=on("cpu", "cuda"), one_token=True),
    Kernel("stored", _gru_stored, why_not=on("cpu"), suits=_learns, opaque=True),
    Kernel("cudnn", _by_cudnn(_gru_torch), why_not=_no_cudnn, opaque=True),
    # without a gradient to come, torch's loop is the faster
    Kernel("torch", _gru_torch, why_not=_is_cudnn, opaque=True),
    Kernel("plain", _gru_plain, opaque=True),
)
# (x_BTD, weights, h_BE, c_BE) → every h_t and the last cell; torch.nn.LSTM's recurrence
lstm = Op(
    "lstm",
    # oneDNN reorders the weights and cuDNN wants them copied, every call
    Kernel("cell", _lstm_cell, why_not=on("cpu", "cuda"), one_token=True),
    Kernel("cudnn", _by_cudnn(_lstm_torch), why_not=_no_cudnn, opaque=True),
    Kernel("torch", _lstm_torch, why_not=_is_cudnn, refuses=_lstm_refuses, opaque=True),
    Kernel("plain", _lstm_plain, opaque=True),
)
