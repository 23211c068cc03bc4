"""What the states of a frozen trunk say, to a linear reader, about where their text is from.

The training text is cut into SECTIONS equal sections, each section into blocks that do not overlap,
and a few windows are read from each block. The mean of a block's last states goes into a
multinomial logistic regression on its section. Of every four blocks two are what it is fitted to,
one chooses its penalty, and the last is what it is asked about.

Alain & Bengio, Understanding intermediate layers using linear classifier probes
https://arxiv.org/abs/1610.01644
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from archs import LanguageModel
from benchmarks.perplexity import FORWARD_TOKENS, windows
from benchmarks.phases import precision
from results import Case, LinearProbe

SECTIONS = 8
BLOCKS, BLOCK_TOKENS = 192, 4096  # a section, fewer of a short text
WINDOWS = 4  # a block, fewer of long windows
FEWEST_BLOCKS = 4  # one for each role
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
FIT, CHOOSE, ASK = 0, 1, 2
ROLES = torch.tensor([FIT, CHOOSE, FIT, ASK])  # of every four blocks


class Blocks(NamedTuple):
    """Of a text."""

    starts_NW: Tensor  # of the windows read from each
    section_N: Tensor
    role_N: Tensor


def places(tokens: int, length: int) -> Blocks:
    """Windows of `length` in a text of so many tokens; spread evenly, none overlaps another.

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
    begin_N = (section_S[:, None] + block_N).flatten()
    return Blocks(
        starts_NW=begin_N[:, None] + _spread(block, windows, length),
        section_N=torch.arange(SECTIONS).repeat_interleave(blocks),
        role_N=ROLES[torch.arange(blocks) % len(ROLES)].repeat(SECTIONS),
    )


def _spread(room: int, count: int, length: int) -> Tensor:
    """Starts of `count` pieces of `length`, evenly over `room`."""
    return torch.arange(count) * (room - length) // max(1, count - 1)


@torch.inference_mode()
def pooled(
    model: LanguageModel, case: Case, text: Tensor, starts_NW: Tensor, device: str
) -> Tensor:
    """The mean of the last states of each block's windows, (N, D) in float64."""
    found = []
    for starts in starts_NW.flatten().split(max(1, FORWARD_TOKENS // case.seq_len)):
        tokens_BT = windows(text, starts, case.seq_len - 1, device)
        with precision(case, device):
            x_BTD, _ = model(tokens_BT)
        found.append(x_BTD.double().mean(1).cpu())
    return torch.cat(found).unflatten(0, starts_NW.shape).mean(1)


def fit(x_ND: Tensor, label_N: Tensor, penalty: float) -> Tensor:
    """Weights of the regression, a bias last, (D + 1, SECTIONS)."""
    D = x_ND.shape[1]
    weight = torch.zeros(D + 1, SECTIONS, dtype=x_ND.dtype, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        nats = F.cross_entropy(x_ND @ weight[:D] + weight[D], label_N)
        total = nats + penalty * weight[:D].square().sum()
        total.backward()
        return total

    optimizer.step(loss)
    return weight.detach()


def regress(x_ND: Tensor, blocks: Blocks, *, trained: bool) -> LinearProbe:
    """Fitted, its penalty chosen, and asked, on blocks that do not meet."""
    x_ND = x_ND - x_ND[blocks.role_N == FIT].mean(0)
    x_ND = x_ND / x_ND[blocks.role_N == FIT].std(0).clamp_min(1e-12)
    fitted, choosing, asked = (
        (x_ND[blocks.role_N == role], blocks.section_N[blocks.role_N == role])
        for role in (FIT, CHOOSE, ASK)
    )

    def logits(weight: Tensor, x_ND: Tensor) -> Tensor:
        return x_ND @ weight[:-1] + weight[-1]

    tried = [(fit(*fitted, penalty), penalty) for penalty in PENALTIES]
    weight, penalty = min(
        tried, key=lambda one: float(F.cross_entropy(logits(one[0], choosing[0]), choosing[1]))
    )
    right_N = logits(weight, asked[0]).argmax(-1) == asked[1]
    return LinearProbe(
        trained=trained,
        sections=SECTIONS,
        fitted=len(fitted[0]),
        l2=penalty,
        asked=len(right_N),
        right=int(right_N.sum()),
    )


def probe(
    model: LanguageModel, case: Case, text: Tensor, device: str, *, trained: bool
) -> LinearProbe:
    blocks = places(len(text), case.seq_len)
    return regress(pooled(model, case, text, blocks.starts_NW, device), blocks, trained=trained)
