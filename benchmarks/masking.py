"""Training to fill in masked tokens, beside training to go on, with the same trunk and windows.

A window has `masked` of its tokens, in whole tokens, replaced by the mask, and its loss is that of
those tokens. All of them become the mask: that a few keep their own token or get another, as in
BERT, Wettig et al., Should You Mask 15% in Masked Language Modeling?, 2022
https://arxiv.org/abs/2202.08005, found to be of no use. The mask is one token more than the text
has; a model that reads one way has its row too, which it never meets, so that both are one trunk.
"""

import torch
from torch import Tensor

import archs
from benchmarks.training import Batch
from results import Case


def mask_tokens(case: Case) -> int:
    """How many rows the mask adds to the vocabulary."""
    return int(case.phase == "infill")


def reads_one_way(case: Case) -> bool:
    """Whether the trunk of an encoder is built causal."""
    return case.phase == "infill" and case.masked is None


def refuse_unless_it_can_mask(arch: str, masked: float | None) -> None:
    """Raises ValueError where what reads one way is asked about tokens from both sides of them."""
    if masked is not None and archs.is_causal(arch):
        raise ValueError(
            f"{arch} reads one way and cannot be trained on masked tokens; "
            "ask for an encoder such as bert, or leave masked out"
        )


def count(case: Case) -> int:
    """Tokens of a window that are masked: one at least."""
    assert case.masked is not None
    return max(1, round(case.masked * case.seq_len))


def masked(text_BT: Tensor, mask: int, count: int, draws: torch.Generator) -> Batch:
    """`count` tokens of each window, at places drawn, are masked and asked for."""
    places_BM = torch.rand(text_BT.shape, generator=draws).topk(count).indices
    asked_BT = torch.zeros(text_BT.shape, dtype=torch.bool).scatter(1, places_BM, True)
    return Batch(text_BT.masked_fill(asked_BT, mask), text_BT, asked_BT)


def batch(case: Case, mask: int, text_BT: Tensor, draws: torch.Generator) -> Batch:
    """Of windows with one token more than the case reads. Both objectives draw as many numbers, so
    that their windows are the same."""
    if case.masked is None:
        torch.rand(text_BT[:, :-1].shape, generator=draws)
        return Batch(text_BT[:, :-1], text_BT[:, 1:])
    return masked(text_BT[:, :-1], mask, count(case), draws)
