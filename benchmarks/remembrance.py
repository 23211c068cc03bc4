"""Effective remembrance: how far a prediction moves when the past is cut to its last tokens.

    d(c) = E ½ Σ_v |p(v | last c tokens) - p(v | all T)|

Buitrago & Gu, Understanding and Improving Length Generalization in Recurrent Models, section 4
https://arxiv.org/abs/2507.02782, with total variation as the distance.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from archs import LanguageModel
from benchmarks.phases import precision
from results import Case, Remembrance

WINDOWS = 128
FORWARD_TOKENS = 2**13  # in one forward pass, whatever is kept

# (B, T) tokens → log-probabilities (B, V) of the next
Predict = Callable[[Tensor], Tensor]


def predictor(model: LanguageModel, case: Case, device: str) -> Predict:
    def predict(past_BT: Tensor) -> Tensor:
        parts = []
        for rows_BT in past_BT.split(max(1, FORWARD_TOKENS // past_BT.shape[1])):
            with precision(case, device):
                x_BTD, _ = model(rows_BT.to(device))
                logits_BV = model.logits(x_BTD[:, -1])
            parts.append(logits_BV.double().log_softmax(-1).cpu())
        return torch.cat(parts)

    return predict


@torch.inference_mode()
def remembrance(predict: Predict, text_BT: Tensor, bayes: Predict | None = None) -> Remembrance:
    """Of `text_BT`, (windows, T + 1): T tokens of past and the one to predict."""
    past_BT, next_B1 = text_BT[:, :-1], text_BT[:, -1:]
    whole = past_BT.shape[1]
    kept = [2**i for i in range((whole - 1).bit_length())] + [whole]
    told = [predict(past_BT[:, -c:]) for c in kept]
    return Remembrance(
        kept=tuple(kept),
        windows=len(text_BT),
        distance=_distances(told),
        nats=tuple(-float(p_BV.gather(1, next_B1).sum()) for p_BV in told),
        bayes_distance=() if bayes is None else _distances([bayes(past_BT[:, -c:]) for c in kept]),
    )


def _distances(told: list[Tensor]) -> tuple[float, ...]:
    """Total variation to the last of them, summed over the windows."""
    return tuple(float((p_BV.exp() - told[-1].exp()).abs().sum() / 2) for p_BV in told)
