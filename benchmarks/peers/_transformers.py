"""What the transformers of Hugging Face have in common: one call, and a cache that they make."""

from typing import Any

from torch import Tensor

from benchmarks.peers._peer import Module, Pairs, Side, copy


class Transformers(Side):
    """`cache` is the name that the model has for its cache."""

    def __init__(self, module: Module, pairs: Pairs, cache: str) -> None:
        copy(pairs)
        self.module, self.embed, self.cache = module, module.get_input_embeddings(), cache
        self.past: Any = None

    def logits(self, tokens_BT: Tensor) -> Tensor:
        logits: Tensor = self.module(tokens_BT, use_cache=False).logits
        return logits

    def prefill(self, tokens_BT: Tensor, room: int) -> None:
        self.past = None
        self.step(tokens_BT)

    def step(self, token_B1: Tensor) -> Tensor:
        seen = self.module(token_B1, use_cache=True, **{self.cache: self.past})
        self.past = seen[self.cache]
        logits: Tensor = seen.logits
        return logits
