"""What the states of a frozen trunk say, to a linear reader, about where their text is from.

The training text is cut into SECTIONS equal sections, each section into blocks that do not overlap,
and windows are read from the blocks. The mean of a window's last states goes into a multinomial
logistic regression on its section. Of every four blocks two are what it is fitted to, one chooses
its penalty, and the last is what it is asked about, so that no window's neighbour is fitted to.

Alain & Bengio, Understanding intermediate layers using linear classifier probes
https://arxiv.org/abs/1610.01644
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from archs import LanguageModel
from benchmarks.perplexity import FORWARD_TOKENS
from benchmarks.phases import precision
from results import Case, LinearProbe

SECTIONS = 8
BLOCKS, BLOCK_TOKENS = 64, 4096  # a section, fewer of a short text
WINDOWS = 4  # a block, fewer of long windows
FEWEST_BLOCKS = 4  # one for each role
PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1)
FIT, CHOOSE, ASK = 0, 1, 2
ROLES = torch.tensor([FIT, CHOOSE, FIT, ASK])  # of every four blocks


class Places(NamedTuple):
    """Windows of a text."""

    starts_W: Tensor
    section_W: Tensor
    role_W: Tensor


def places(tokens: int, length: int) -> Places:
    """Of windows of `length` in a text of so many tokens; spread evenly, none overlaps another.

    Raises ValueError if a section has room for less than FEWEST_BLOCKS blocks.
    """
    section, block = tokens // SECTIONS, max(BLOCK_TOKENS, length)
    blocks = min(BLOCKS, section // block)
    if blocks < FEWEST_BLOCKS:
        raise ValueError(
            f"a training text of {tokens:,} tokens is too short for the linear probe; it takes "
            f"{SECTIONS * FEWEST_BLOCKS * block:,}"
        )
    windows = min(WINDOWS, block // length)
    section_S, block_N = torch.arange(SECTIONS) * section, _spread(section, blocks, block)
    starts_SNW = section_S[:, None, None] + block_N[:, None] + _spread(block, windows, length)
    section_SNW = torch.arange(SECTIONS)[:, None, None].expand_as(starts_SNW)
    role_SNW = ROLES[torch.arange(blocks) % len(ROLES)][:, None].expand_as(starts_SNW)
    return Places(starts_SNW.flatten(), section_SNW.flatten(), role_SNW.flatten())


def _spread(room: int, count: int, length: int) -> Tensor:
    """Starts of `count` pieces of `length`, evenly over `room`."""
    return torch.arange(count) * (room - length) // max(1, count - 1)


@torch.inference_mode()
def pooled(model: LanguageModel, case: Case, text: Tensor, starts_W: Tensor, device: str) -> Tensor:
    """The mean of each window's last states, (W, D) in float64."""
    found = []
    for starts in starts_W.split(max(1, FORWARD_TOKENS // case.seq_len)):
        tokens_BT = text[starts[:, None] + torch.arange(case.seq_len)].to(device, torch.int64)
        with precision(case, device):
            x_BTD, _ = model(tokens_BT)
        found.append(x_BTD.double().mean(1).cpu())
    return torch.cat(found)


def fit(x_WD: Tensor, label_W: Tensor, penalty: float) -> Tensor:
    """Weights of the regression, a bias last, (D + 1, SECTIONS)."""
    D = x_WD.shape[1]
    weight = torch.zeros(D + 1, SECTIONS, dtype=x_WD.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        nats = F.cross_entropy(x_WD @ weight[:D] + weight[D], label_W)
        total = nats + penalty * weight[:D].square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return weight.detach()


def regress(x_WD: Tensor, where: Places, *, trained: bool) -> LinearProbe:
    """Fitted, its penalty chosen, and asked, on windows that do not meet."""
    x_WD = x_WD - x_WD[where.role_W == FIT].mean(0)
    x_WD = x_WD / x_WD[where.role_W == FIT].std(0).clamp_min(1e-12)
    parts = [
        (x_WD[where.role_W == r], where.section_W[where.role_W == r]) for r in (FIT, CHOOSE, ASK)
    ]
    fitted, choosing, asked = parts

    def logits(weight: Tensor, x_WD: Tensor) -> Tensor:
        return x_WD @ weight[:-1] + weight[-1]

    tried = [(fit(*fitted, penalty), penalty) for penalty in PENALTIES]
    weight, penalty = min(
        tried, key=lambda one: float(F.cross_entropy(logits(one[0], choosing[0]), choosing[1]))
    )
    right_W = logits(weight, asked[0]).argmax(-1) == asked[1]
    return LinearProbe(
        trained=trained,
        sections=SECTIONS,
        fitted=len(fitted[0]),
        l2=penalty,
        asked=len(right_W),
        right=int(right_W.sum()),
    )


def probe(
    model: LanguageModel, case: Case, text: Tensor, device: str, *, trained: bool
) -> LinearProbe:
    where = places(len(text), case.seq_len)
    return regress(pooled(model, case, text, where.starts_W, device), where, trained=trained)
