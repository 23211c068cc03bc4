"""What a peer is, and the calls that are timed on both sides of a pair."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs import LanguageModel
from benchmarks import modes

Module = Any  # an nn.Module, whose parts a type checker takes for tensors
Pairs = list[tuple[Tensor, Tensor]]  # theirs and ours


class Missing(ValueError):
    """A package that is not installed; the message says how to get it."""


class Side(ABC):
    """A language model, ours or a peer's, behind the same calls."""

    module: Module
    embed: nn.Embedding

    @abstractmethod
    def logits(self, tokens_BT: Tensor) -> Tensor:
        """Of every token, on the path that training takes."""

    @abstractmethod
    def prefill(self, tokens_BT: Tensor, room: int) -> None:
        """Read a prompt into a fresh cache that can take `room` tokens more."""

    @abstractmethod
    def step(self, token_B1: Tensor) -> Tensor:
        """Logits after one more token."""

    def loss(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Mean negative log-likelihood in nats."""
        return F.cross_entropy(self.logits(tokens_BT).flatten(0, 1), targets_BT.flatten())


class Ours(Side):
    def __init__(self, model: LanguageModel, mode: str = "eager") -> None:
        self.module, self.model, self.embed = model, model, model.embed
        self.states: list[Any] = []
        self.advance = modes.compiled(self._advance, mode)

    def logits(self, tokens_BT: Tensor) -> Tensor:
        x_BTD, _ = self.model(tokens_BT)
        return self.model.logits(x_BTD)

    def prefill(self, tokens_BT: Tensor, room: int) -> None:
        B, T = tokens_BT.shape
        _, self.states = self.model(tokens_BT, self.model.init_state(B, T + room))

    def _advance(self, token_B1: Tensor, states: list[Any]) -> tuple[Tensor, list[Any]]:
        x_B1D, states = self.model(token_B1, states)
        return self.model.logits(x_B1D), states

    def step(self, token_B1: Tensor) -> Tensor:
        logits_B1V, self.states = self.advance(token_B1, self.states)
        return logits_B1V


@dataclass(frozen=True, kw_only=True)
class Peer:
    """Somebody else's implementation of one of our architectures."""

    module: ModuleType  # of our architecture
    impl: str
    distribution: str  # the package that holds it, as PyPI names it
    install: str = "'seqfrontier[peers]'"  # what pip is asked for to get it
    ours: Callable[[str, int], LanguageModel]  # from a named size and the longest sequence
    theirs: Callable[[Module], Side]  # with the same weights
    lacks: tuple[str, ...] = ()  # endings of our parameters' names that theirs has no place for
    # where theirs has checkpoints: ours of a config's shape, and its and our places of each weight
    like: Callable[[Any], LanguageModel] | None = None
    pairs: Callable[[Module, Module], Pairs] | None = None

    @property
    def arch(self) -> str:
        return self.module.__name__.rpartition(".")[2]

    def version(self) -> str:
        """Raises Missing if the package is not installed."""
        try:
            return metadata.version(self.distribution)
        except metadata.PackageNotFoundError:
            raise Missing(
                f"{self.distribution} is not installed; pip install {self.install}"
            ) from None

    @torch.no_grad()
    def leave_out(self, model: LanguageModel) -> LanguageModel:
        """`model`, with what theirs has no place for set to zero."""
        for name, parameter in model.named_parameters():
            if name.endswith(self.lacks):
                parameter.zero_()
        return model


@torch.no_grad()
def copy(pairs: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Each (theirs, ours) in place. Raises ValueError if shapes differ: nothing is broadcast."""
    for target, source in pairs:
        if target.shape != source.shape:
            raise ValueError(f"{tuple(source.shape)} does not fit into {tuple(target.shape)}")
        target.copy_(source)


def affine(theirs: Module, ours: Module) -> Pairs:
    """The weights and biases of two modules, as `copy` wants them."""
    return [(theirs.weight, ours.weight), (theirs.bias, ours.bias)]
