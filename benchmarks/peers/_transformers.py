"""What the transformers of Hugging Face have in common: one call, and a cache that they make."""

from typing import Any

from torch import Tensor

from benchmarks.peers._peer import Module, Pairs, Side, copy


class Transformers(Side):
    """`cache` is what the model calls its cache, `always` what else it is told at each call."""

    def __init__(self, module: Module, pairs: Pairs, cache: str, **always: Any) -> None:
        copy(pairs)
        self.module, self.embed, self.cache = module, module.get_input_embeddings(), cache
        self.always = always
        self.past: Any = None

    def logits(self, tokens_BT: Tensor) -> Tensor:
        logits: Tensor = self.module(tokens_BT, use_cache=False, **self.always).logits
        return logits

    def prefill(self, tokens_BT: Tensor, room: int) -> None:
        self.past = None
        self.step(tokens_BT)

    def step(self, token_B1: Tensor) -> Tensor:
        seen = self.module(token_B1, use_cache=True, **{self.cache: self.past}, **self.always)
        self.past = seen[self.cache]
        logits: Tensor = seen.logits
        return logits
