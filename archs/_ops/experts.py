"""A token's MLP is a sum over a few of many: y = Σ share_a W_down (SiLU(W_gate x) ∘ W_up x).

Shazeer et al., Outrageously Large Neural Networks  https://arxiv.org/abs/1701.06538
No token is dropped: an expert takes as many as choose it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from archs._ops import Kernel, Op, on


def _swiglu(x: Tensor, weight_up: Tensor, weight_down: Tensor) -> Tensor:
    gate, value = (x @ weight_up.mT).chunk(2, dim=-1)
    return (F.silu(gate) * value) @ weight_down.mT


def _gathered(
    x_B1D: Tensor, chosen_B1A: Tensor, share_B1A: Tensor, weight_up: Tensor, weight_down: Tensor
) -> Tensor:
    """Each token's own experts, copied side by side: nothing waits for how many chose which."""
    chosen_BA = chosen_B1A[:, 0]
    y_BA1D = _swiglu(x_B1D[:, None], weight_up[chosen_BA], weight_down[chosen_BA])
    return share_B1A @ y_BA1D[:, :, 0]


def _sorted(
    x_BTD: Tensor, chosen_BTA: Tensor, share_BTA: Tensor, weight_up: Tensor, weight_down: Tensor
) -> Tensor:
    """Tokens in the order of their experts, a matrix product for each."""
    active, chosen = chosen_BTA.shape[-1], chosen_BTA.flatten()
    order = chosen.argsort(stable=True)
    counts = chosen.bincount(minlength=len(weight_up)).tolist()
    pieces = x_BTD.flatten(0, 1)[order // active].split(counts)
    outputs = map(_swiglu, pieces, weight_up.unbind(), weight_down.unbind())
    y_BTAD = torch.cat(list(outputs))[order.argsort()].view(*chosen_BTA.shape, -1)
    return (share_BTA[..., None, :] @ y_BTAD)[..., 0, :]


def _plain(
    x_BTD: Tensor, chosen_BTA: Tensor, share_BTA: Tensor, weight_up: Tensor, weight_down: Tensor
) -> Tensor:
    """Every expert on every token."""
    y_BTXD = _swiglu(x_BTD[:, :, None, None], weight_up, weight_down)[:, :, :, 0]
    share_BTX = share_BTA.new_zeros(y_BTXD.shape[:-1]).scatter(-1, chosen_BTA, share_BTA)
    return (share_BTX[..., None] * y_BTXD).sum(-2)


# (x_BTD, chosen_BTA, share_BTA, weight_up, weight_down) → (B, T, D); A of the X experts, whose
# weights are (X, 2 E, D), gates first, and (X, D, E)
experts = Op(
    "experts",
    Kernel("gathered", _gathered, one_token=True),
    Kernel("sorted", _sorted, why_not=on("cpu", "cuda"), opaque=True),
    Kernel("plain", _plain),
)
