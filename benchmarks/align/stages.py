"""The loops' descent, and what was finished of an alignment when it was killed."""

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
import torch
from torch import Tensor

from benchmarks.exam import recipe
from benchmarks.training import Checkpoint, Diverged, schedule

Tensors = dict[str, Tensor]
Seen = TypeVar("Seen")


class Descent:
    """AdamW without decay, linear warm-up, cosine to a tenth, gradients clipped to norm 1."""

    def __init__(self, parameters: Iterable[Tensor], steps: int, lr: float) -> None:
        self.parameters, self.recipe, self.lr = list(parameters), recipe(steps), lr
        self.optimizer = torch.optim.AdamW(
            self.parameters,
            lr=lr,
            betas=self.recipe.betas,
            weight_decay=self.recipe.weight_decay,
            fused=True,
        )
        self.nats = list[float]()  # the loss of each step

    def step(self, loss: Tensor) -> None:
        """Raises Diverged if loss or gradient is not finite."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr * schedule(len(self.nats), self.recipe.steps, self.recipe.warmup)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        if not (math.isfinite(loss.item()) and math.isfinite(norm.item())):
            raise Diverged(self.nats)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.nats.append(loss.item())


class Stages:
    """What each finished step came to, kept beside the Record: a killed run loses one at most."""

    def __init__(self, checkpoint: Checkpoint | None) -> None:
        self.checkpoint = checkpoint
        saved = None if checkpoint is None else checkpoint.load()
        self.done: dict[str, Any] = saved or {}

    def once(
        self, name: str, kind: type[Seen], make: Callable[[], tuple[Seen, Tensors]]
    ) -> tuple[Seen, Tensors]:
        """What `make` returns, a part of a Record and tensors: now, or in an earlier run."""
        if name not in self.done:
            seen, tensors = make()
            told = msgspec.json.encode(seen).decode()
            self.done[name] = {"seen": told, "tensors": tensors}
            if self.checkpoint is not None:
                self.checkpoint.save(self.done)
        kept = self.done[name]
        return msgspec.json.decode(kept["seen"], type=kind), kept["tensors"]
