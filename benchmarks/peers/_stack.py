"""Our recurrences bare: embedding, mixers one on the other, head.

Without norms, residuals and MLPs what is compared is the recurrence, and it is the whole of what
torch.nn.LSTM and its like have.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

import archs
from archs import LanguageModel, _spine
from benchmarks.peers._peer import Module, Side


def mixers_alone(module: ModuleType) -> Callable[[str, int], LanguageModel]:
    """Builds `module`'s model with each Block cut down to its mixer."""

    class Alone(_spine.Block):
        final_norm = staticmethod(lambda config: nn.Identity())

        def __init__(self, config: Any, layer: int) -> None:
            super().__init__(config, layer)
            self.mixer = module.Block(config, layer).mixer

        def init_state(self, batch: int, max_len: int) -> Any:
            return self.mixer.init_state(batch, max_len)

        def forward(self, x_BTD: Tensor, state: Any | None) -> tuple[Tensor, Any | None]:
            return self.mixer(x_BTD, state)

    return lambda size, max_len: archs.LanguageModel(module.SIZES[size], Alone)


class Between(Side):
    """A package's layers, put between our embedding and the head that is tied to it."""

    def __init__(self, model: Module, layers: nn.Module) -> None:
        weight = model.embed.weight.detach().clone()
        self.embed = nn.Embedding.from_pretrained(weight, freeze=False)
        self.module = nn.ModuleList([self.embed, layers])

    def head(self, x_BTD: Tensor) -> Tensor:
        return F.linear(x_BTD, self.embed.weight)
