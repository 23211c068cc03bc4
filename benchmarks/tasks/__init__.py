"""Every public module in this folder is one task: endless sequences whose answers are known.

A module's `Task` says what is asked and draws it, as a pure function of a generator's state; its
docstring names the paper. Nothing is stored, and no sequence is met twice.
"""

import importlib
import pkgutil
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor

from results.schema import Learned


class Sequences(NamedTuple):
    inputs_BT: Tensor
    targets_BT: Tensor  # what comes next, where it is asked; elsewhere any token
    asked_BT: Tensor  # bool: where an answer is due
    # where asked, what the answer is counted under, from 1: its distance in tokens from where it
    # was last to be read, or its position, the tokens read
    places_BT: Tensor


@dataclass(frozen=True)
class Task:
    """One task at one load: how much is to be kept in mind, in units the task says.

    Raises ValueError at a load it cannot have.
    """

    load: int

    phase: ClassVar[Learned]
    binned_by: ClassVar[Literal["distance", "position"]]
    lengths: ClassVar[tuple[int, ...]] = (1, 2, 4)  # tested, in trained lengths

    @property
    def vocab_size(self) -> int:
        raise NotImplementedError

    def draw(self, seq_len: int, batch: int, generator: torch.Generator) -> Sequences:
        """`batch` sequences of `seq_len` tokens. Raises ValueError if the load does not fit."""
        raise NotImplementedError

    def bayes(self, inputs_BT: Tensor) -> Tensor | None:
        """Log-probabilities (B, T, V) of each next token under the exact Bayes predictor; None:
        every answer is certain, so it would make no error."""
        return None


def names() -> list[str]:
    """The tasks at hand: one for each file whose name has no leading underscore."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load(name: str) -> type[Task]:
    """The task of that name. Raises ValueError, naming those there are, if it is unknown."""
    if name not in names():
        raise ValueError(f"no task {name!r}; benchmarks/tasks/ holds {', '.join(names())}")
    task: type[Task] = importlib.import_module(f"{__name__}.{name}").Task
    return task


def needs_length(task: Task, seq_len: int, fewest: int) -> None:
    """Raises ValueError if sequences of `seq_len` tokens are too short for the task's load."""
    if seq_len < fewest:
        name = type(task).__module__.rpartition(".")[2]
        raise ValueError(f"{name} at load {task.load} needs {fewest} tokens, not {seq_len}")
