"""The nonlinear recurrences: Elman, GRU, LSTM. Time is a loop, since h_t needs h_{t-1} first.

Weights are torch.nn.RNN's, GRU's and LSTM's, gate order included. The input's products are hoisted
out of the loop as one matrix product. On CPU the Elman and GRU loops have a hand-written backward,
which keeps what the forward pass computed and collects each weight's gradient in one product at
the end; torch's own does a small product and several small allocations a step. LSTM is torch's,
which on CPU is oneDNN's fused loop. On CUDA all three are cuDNN's.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = tuple[Tensor, Tensor, Tensor, Tensor]  # input, hidden, input bias, hidden bias


class _Elman(torch.autograd.Function):
    """h_t = tanh(u_t + W h_{t-1}); u (T, B, E) already holds the input's share and the biases."""

    @staticmethod
    def forward(ctx, u, weight_EE, h_BE):
        states = torch.empty_like(u)
        previous, weight_t = h_BE, weight_EE.t()
        for t in range(len(u)):
            previous = torch.addmm(u[t], previous, weight_t, out=states[t]).tanh_()
        ctx.save_for_backward(states, weight_EE, h_BE)
        return states

    @staticmethod
    def backward(ctx, grad_states):
        states, weight_EE, h_BE = ctx.saved_tensors
        grad_u = torch.addcmul(grad_states.new_ones(()), states, states, value=-1)  # tanh'
        grad_h = torch.zeros_like(h_BE)
        for t in reversed(range(len(states))):
            grad_u[t].mul_(grad_h.add_(grad_states[t]))
            torch.mm(grad_u[t], weight_EE, out=grad_h)
        before = torch.cat([h_BE[None], states[:-1]])
        return grad_u, grad_u.flatten(0, 1).t() @ before.flatten(0, 1), grad_h


class _GRU(torch.autograd.Function):
    """r, z = σ(u + W h), n = tanh(u_n + r (W_n h + b_n)), h' = n + z (h - n)."""

    @staticmethod
    def forward(ctx, u, weight, bias, h_BE):
        T, B, E = len(u), *h_BE.shape
        states, gates = u.new_empty(T + 1, B, E), u.new_empty(T, B, 4 * E)  # r, z, n, W_n h + b_n
        states[0] = h_BE
        weight_t = weight.t()
        for t in range(T):
            h = torch.addmm(bias, states[t], weight_t)
            rz, n, hidden_n = gates[t].split((2 * E, E, E), dim=-1)
            torch.add(u[t, :, : 2 * E], h[:, : 2 * E], out=rz).sigmoid_()
            hidden_n.copy_(h[:, 2 * E :])
            torch.addcmul(u[t, :, 2 * E :], rz[:, :E], hidden_n, out=n).tanh_()
            torch.lerp(n, states[t], rz[:, E:], out=states[t + 1])
        ctx.save_for_backward(states, gates, weight)
        return states[1:]

    @staticmethod
    def backward(ctx, grad_states):
        states, gates, weight = ctx.saved_tensors
        r, z, n, hidden_n = gates.chunk(4, dim=-1)
        # every factor that does not wait for a later step's gradient, all steps at once
        to_n = (1 - z) * (1 - n * n)
        to_z = (states[:-1] - n) * z * (1 - z)
        to_r = to_n * hidden_n * r * (1 - r)
        to_hidden_n = to_n * r
        factors = torch.cat([to_r, to_z, to_hidden_n], dim=-1)
        grad_hidden = torch.empty_like(factors)
        totals = torch.empty_like(grad_states)
        grad_h = torch.zeros_like(states[0])
        for t in reversed(range(len(grad_states))):
            total = torch.add(grad_h, grad_states[t], out=totals[t])
            torch.mul(
                factors[t].unflatten(-1, (3, -1)),
                total[:, None],
                out=grad_hidden[t].unflatten(-1, (3, -1)),
            )
            torch.addmm(total * z[t], grad_hidden[t], weight, out=grad_h)
        grad_u = torch.cat([grad_hidden[..., : 2 * z.shape[-1]], to_n * totals], dim=-1)
        flat = grad_hidden.flatten(0, 1)
        return grad_u, flat.t() @ states[:-1].flatten(0, 1), flat.sum(0), grad_h


def elman(x_BTD: Tensor, weights: Weights, h_BE: Tensor) -> Tensor:
    """h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh): every h_t, (B, T, E)."""
    if x_BTD.device.type != "cpu":
        return torch.rnn_tanh(x_BTD, h_BE[None], list(weights), True, 1, 0.0, False, False, True)[0]
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    u = F.linear(x_BTD, weight_ih, bias_ih + bias_hh)
    if x_BTD.shape[1] == 1:
        return torch.tanh(u + F.linear(h_BE, weight_hh)[:, None])
    u = u.transpose(0, 1).to(weight_hh.dtype).contiguous()
    with torch.autocast("cpu", enabled=False):  # the loop keeps its weights' precision
        return _Elman.apply(u, weight_hh, h_BE).transpose(0, 1)


def gru(x_BTD: Tensor, weights: Weights, h_BE: Tensor) -> Tensor:
    """torch.nn.GRU's recurrence: every h_t, (B, T, E)."""
    if x_BTD.device.type != "cpu":
        return torch.gru(x_BTD, h_BE[None], list(weights), True, 1, 0.0, False, False, True)[0]
    weight_ih, weight_hh, bias_ih, bias_hh = weights
    if x_BTD.shape[1] == 1:
        return torch.gru_cell(x_BTD[:, 0], h_BE, *weights)[:, None]
    u = F.linear(x_BTD, weight_ih, bias_ih).transpose(0, 1).to(weight_hh.dtype).contiguous()
    with torch.autocast("cpu", enabled=False):  # the loop keeps its weights' precision
        return _GRU.apply(u, weight_hh, bias_hh, h_BE).transpose(0, 1)


def lstm(x_BTD: Tensor, weights: Weights, h_BE: Tensor, c_BE: Tensor) -> tuple[Tensor, Tensor]:
    """torch.nn.LSTM's recurrence: every h_t, (B, T, E), and the cell after the last token."""
    if x_BTD.device.type == "cpu" and x_BTD.shape[1] == 1:
        h_BE, c_BE = torch.lstm_cell(x_BTD[:, 0], (h_BE, c_BE), *weights)
        return h_BE[:, None], c_BE
    hidden = (h_BE[None], c_BE[None])
    y_BTE, _, c_1BE = torch.lstm(x_BTD, hidden, list(weights), True, 1, 0.0, False, False, True)
    return y_BTE, c_1BE[0]
