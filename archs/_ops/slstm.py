"""xLSTM's scalar memory: exponential gates, a normaliser, and a stabiliser that keeps both finite.

    i, f, z, o = u_t + h_{t-1} R, head by head
    m_t = max(i, log σ(f) + m_{t-1})    i' = exp(i - m_t)    f' = exp(log σ(f) + m_{t-1} - m_t)
    c_t = f' c_{t-1} + i' tanh z        n_t = f' n_{t-1} + i'        h_t = σ(o) c_t / n_t

Beck et al., xLSTM, equations 8 to 17  https://arxiv.org/abs/2405.04517
m scales c and n alike and leaves h as it is, so no gradient goes through it. `stored` has a
hand-written backward, which keeps what the forward pass computed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from archs._ops import Kernel, Op, on

# inside the loops: (heads, B, K) a step, so that each head is one small product of a batch of them


def _inner(u_BTHG: Tensor, h_BE: Tensor, cell_B3E: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """u (T, H, B, 4 K), h (H, B, K), cell (3, H, B, K)."""
    heads = u_BTHG.shape[2]
    h = h_BE.unflatten(-1, (heads, -1)).transpose(0, 1)
    return u_BTHG.permute(1, 2, 0, 3), h, cell_B3E.unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)


def _outer(states: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """h (B, T, E) and cell (B, 3, E) of h (T, H, B, K) and cell (3, H, B, K)."""
    return states.permute(2, 0, 1, 3).flatten(2), cell.permute(2, 0, 1, 3).flatten(2)


def _plain(
    u_BTHG: Tensor, weight_HKG: Tensor, h_BE: Tensor, cell_B3E: Tensor
) -> tuple[Tensor, Tensor]:
    u, h, cell = _inner(u_BTHG, h_BE, cell_B3E)
    (c, n, m), steps = cell, []
    for u_t in u.unbind():
        i, f, z, o = torch.baddbmm(u_t, h, weight_HKG).chunk(4, dim=-1)
        f = F.logsigmoid(f) + m.detach()
        m = torch.maximum(i, f).detach()
        i, f = torch.exp(i - m), torch.exp(f - m)
        c, n = f * c + i * z.tanh(), f * n + i
        h = o.sigmoid() * c / n
        steps.append(h)
    return _outer(torch.stack(steps), torch.stack([c, n, m]))


class _SLSTM(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, weight, h, cell):
        T, (H, B, K) = len(u), h.shape
        states, c, n = (u.new_empty(T + 1, H, B, K) for _ in range(3))
        gates, kept = u.new_empty(T, H, B, 4 * K), u.new_empty(T, H, B, K)  # kept: σ(-f)
        states[0], c[0], n[0], m = h, cell[0], cell[1], cell[2].clone()
        i, f, z, o = gates.chunk(4, dim=-1)
        during = (v.unbind() for v in (u, gates, i, f, z, o, kept))
        before = (v[:-1].unbind() for v in (states, c, n))
        after = (v[1:].unbind() for v in (states, c, n))
        for u_t, g_t, i_t, f_t, z_t, o_t, kept_t, h_0, c_0, n_0, h_1, c_1, n_1 in zip(
            *during, *before, *after, strict=True
        ):
            torch.baddbmm(u_t, h_0, weight, out=g_t)
            torch.sigmoid(torch.neg(f_t, out=kept_t), out=kept_t)
            torch.add(F.logsigmoid(f_t), m, out=f_t)
            torch.maximum(i_t, f_t, out=m)
            i_t.sub_(m).exp_()
            f_t.sub_(m).exp_()
            torch.addcmul(torch.mul(f_t, c_0, out=c_1), i_t, z_t.tanh_(), out=c_1)
            torch.addcmul(i_t, f_t, n_0, out=n_1)
            torch.div(torch.mul(o_t.sigmoid_(), c_1, out=h_1), n_1, out=h_1)
        ctx.save_for_backward(states, c, n, gates, kept, weight)
        return states[1:], torch.stack([c[-1], n[-1], m])

    @staticmethod
    def backward(ctx, grad_states, grad_cell):
        states, c, n, gates, kept, weight = ctx.saved_tensors
        T, H, B, K = kept.shape
        i, f, z, o = gates.chunk(4, dim=-1)
        # every factor that does not wait for a later step's gradient, for all steps at once:
        # of c's gradient, of n's, and of h's, before the gates' nonlinearities
        ratio, share = c[1:] / n[1:], o / n[1:]
        of_c = torch.stack([i * z, c[:-1] * f * kept, i * (1 - z * z)], dim=3)
        of_n = torch.stack([i, n[:-1] * f * kept], dim=3)
        of_h = ratio * o * (1 - o)

        grad = torch.empty(T, H, B, 4, K, dtype=gates.dtype)
        grad_h, grad_c, grad_n = torch.zeros_like(states[0]), *(v.clone() for v in grad_cell[:2])
        weight_t = weight.mT.contiguous()
        steps = (grad_states, ratio, share, of_c, of_n, of_h, f)
        parts = (grad[..., :3, :], grad[..., :2, :], grad[..., 3, :], grad.flatten(3))
        for g_h, ratio_t, share_t, of_c_t, of_n_t, of_h_t, f_t, to_c, to_n, to_h, whole in reversed(
            list(zip(*(v.unbind() for v in (*steps, *parts)), strict=True))
        ):
            grad_h.add_(g_h)
            torch.mul(grad_h, of_h_t, out=to_h)
            grad_h.mul_(share_t)
            grad_c.add_(grad_h)
            grad_n.addcmul_(grad_h, ratio_t, value=-1)
            torch.mul(of_c_t, grad_c[:, :, None], out=to_c)
            to_n.addcmul_(of_n_t, grad_n[:, :, None])
            torch.bmm(whole, weight_t, out=grad_h)
            grad_c.mul_(f_t)
            grad_n.mul_(f_t)
        grad_u = grad.flatten(3)
        before, after = (v.permute(1, 2, 0, 3).flatten(1, 2) for v in (states[:-1], grad_u))
        grad_weight = before.mT @ after
        return grad_u, grad_weight, grad_h, torch.stack([grad_c, grad_n, torch.zeros_like(grad_c)])


def _stored(
    u_BTHG: Tensor, weight_HKG: Tensor, h_BE: Tensor, cell_B3E: Tensor
) -> tuple[Tensor, Tensor]:
    u, h, cell = _inner(u_BTHG, h_BE, cell_B3E)
    with torch.autocast("cpu", enabled=False):  # the loop keeps its weights' precision
        return _outer(*_SLSTM.apply(u.contiguous(), weight_HKG, h, cell))


# (u_BTHG, weight_HKG, h_BE, cell_B3E) → every h_t (B, T, E) and the cell after the last token; G is
# i, f, z, o of K each; the cell is c, n, m, of which m may begin at -∞
slstm = Op(
    "slstm",
    Kernel("cell", _plain, one_token=True),
    Kernel("stored", _stored, why_not=on("cpu"), opaque=True),
    Kernel("plain", _plain, opaque=True),
)
