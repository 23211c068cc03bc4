"""What a trained model makes of missing tokens: gaps filled, and every token masked in turn.

An encoder sees both sides of what is missing, a causal model the side before it. Both fill a gap
from left to right, the likeliest token at each place; what is still to fill is masked.

The sum over a text of each token's log-probability, it alone being masked, is Salazar et al.'s
pseudo-log-likelihood  https://arxiv.org/abs/1910.14659: no code length, as no order of the tokens
has these probabilities.
"""

import torch
from torch import Tensor

from archs import LanguageModel
from benchmarks.perplexity import FORWARD_TOKENS
from benchmarks.phases import precision
from results import Case, Evaluation, Gaps


class Filler:
    """Asks one model for tokens of windows. Its vocabulary's last token is the mask."""

    def __init__(self, model: LanguageModel, case: Case, device: str) -> None:
        self.model, self.case, self.device = model, case, device
        self.mask = len(model.embed.weight) - 1

    @torch.inference_mode()
    def log_probabilities(self, inputs_BT: Tensor, places_B: Tensor) -> Tensor:
        """Of every token at one place of each window, (B, V) in float64."""
        seen_B = places_B - 1 if self.case.masked is None else places_B
        rows, told = max(1, FORWARD_TOKENS // inputs_BT.shape[1]), []
        for inputs, seen in zip(inputs_BT.split(rows), seen_B.split(rows), strict=True):
            with precision(self.case, self.device):
                x_BTD, _ = self.model(inputs.to(self.device))
                logits_BV = self.model.logits(x_BTD[torch.arange(len(inputs)), seen])
            told.append(logits_BV.double().cpu().log_softmax(-1))
        return torch.cat(told)

    def filled(self, text_BT: Tensor, starts_B: Tensor, length: int) -> Tensor:
        """What is put in place of the `length` tokens from each start on, (B, length)."""
        places_BG = starts_B[:, None] + torch.arange(length)
        inputs_BT = text_BT.scatter(1, places_BG, self.mask)
        for places_B in places_BG.T:
            told_BV = self.log_probabilities(inputs_BT, places_B)[:, : self.mask]
            inputs_BT.scatter_(1, places_B[:, None], told_BV.argmax(-1, keepdim=True))
        return inputs_BT.gather(1, places_BG)

    def gaps(self, text_BT: Tensor, starts_B: Tensor, length: int) -> Gaps:
        places_BG = starts_B[:, None] + torch.arange(length)
        right_BG = self.filled(text_BT, starts_B, length) == text_BT.gather(1, places_BG)
        return Gaps(
            length=length,
            gaps=len(text_BT),
            tokens_right=int(right_BG.sum()),
            gaps_right=int(right_BG.all(1).sum()),
        )

    def pseudo(self, text_BT: Tensor, token_bytes: Tensor) -> Evaluation:
        """Each token of each window, it alone being masked."""
        count, length = text_BT.shape
        places_T, nats = torch.arange(length), 0.0
        for text_T in text_BT:
            inputs_TT = text_T.repeat(length, 1).fill_diagonal_(self.mask)
            told_TV = self.log_probabilities(inputs_TT, places_T)
            nats -= float(told_TV[places_T, text_T].sum())
        return Evaluation(
            split="test",
            context=length,
            position_edges=(length - 1,),
            nats=(nats,),
            tokens=(count * length,),
            target_bytes=int(token_bytes[text_BT].sum()),
        )
