"""One training loop, for text and for tasks, that can be stopped at any step and gone on with.

AdamW, linear warm-up, cosine to a tenth of the peak, gradients clipped to norm 1. All that a step
draws comes from one generator, so weights, moments and generators are the whole of a training: a
run resumed from its checkpoint ends, on a CPU, with the same bits as one never interrupted.
"""

import hashlib
import io
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from msgspec.structs import asdict
from torch import Tensor

from archs import LanguageModel
from benchmarks.lanes import Lanes
from benchmarks.phases import precision
from benchmarks.ranks import ALONE, Ranks
from results import Case, Progress

CHECKPOINT_EVERY_S = 60.0
PROBES = 20  # in a training, evenly spaced
# steps between looks at the losses: a CPU has them at hand, a GPU would have to be waited for
LOOK_EVERY = {"cpu": 1, "cuda": 16}
DIGEST_BYTES = hashlib.sha256().digest_size


class Diverged(ArithmeticError):
    """The training loss stopped being a number; carries the losses up to there."""

    def __init__(self, nats: list[float]) -> None:
        super().__init__(f"the training loss is not finite at step {len(nats) + 1}")
        self.nats = nats


class Batch(NamedTuple):
    inputs_BT: Tensor
    targets_BT: Tensor
    asked_BT: Tensor | None = None  # the targets whose loss counts; None: all


Draw = Callable[[torch.Generator], Batch]
Probe = Callable[[int], Progress]  # after so many steps


@dataclass(frozen=True, kw_only=True)
class Recipe:
    steps: int
    warmup: int  # steps, of `steps`
    betas: tuple[float, float]
    weight_decay: float


@dataclass(kw_only=True)
class Trained:
    """What a training leaves beside the weights."""

    nats: list[float] = field(default_factory=list)  # mean loss of each step
    progress: list[Progress] = field(default_factory=list)
    step_s: float = 0.0  # inside the model's step: forward, backward, optimizer
    train_s: float = 0.0  # in all

    def facts(self) -> dict[str, Any]:
        """Fields of a Record."""
        return {
            "train_nats": tuple(self.nats),
            "progress": tuple(self.progress),
            "train_step_s": self.step_s,
            "train_s": self.train_s,
        }


class Checkpoint:
    """A training under way, in one hidden file beside its Record.

    `identity` is all that decides what the training computes. The file begins with the SHA-256 of
    identity and content, so one that is torn, of another case or of other code is never gone on
    from: it is left aside and the case is trained from its first step, which costs time only.
    """

    def __init__(self, record: Path, identity: str) -> None:
        self.path, self.identity = checkpoint_path(record), identity.encode()

    def _digest(self, content: bytes) -> bytes:
        return hashlib.sha256(self.identity + content).digest()

    def save(self, state: dict[str, Any]) -> None:
        """Whole or not at all. Raises OSError if the folder cannot be written."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        handle, unfinished = tempfile.mkstemp(dir=self.path.parent, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(self._digest(content))
                file.write(content)
            os.replace(unfinished, self.path)
        except BaseException:
            os.unlink(unfinished)
            raise

    def load(self) -> dict[str, Any] | None:
        """What was last saved; None if there is nothing whole of this very training."""
        whole = self.path.read_bytes() if self.path.exists() else b""
        content = whole[DIGEST_BYTES:]
        if whole[:DIGEST_BYTES] != self._digest(content):
            return None
        state: dict[str, Any] = torch.load(
            io.BytesIO(content), map_location="cpu", weights_only=True
        )
        return state


def checkpoint_path(record: Path) -> Path:
    return record.with_name(f".{record.name}.checkpoint")


def schedule(step: int, steps: int, warmup: int) -> float:
    """The share of the peak learning rate at `step` of `steps`."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.55 + 0.45 * math.cos(math.pi * (step - warmup) / max(1, steps - warmup))


def decay_groups(model: LanguageModel) -> list[dict[str, Any]]:
    """Matrices that multiply are decayed; norms, biases and a recurrence's own numbers are not."""
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        matrix = name.rpartition(".")[2].startswith("weight") and parameter.ndim >= 2
        groups[matrix].append(parameter)
    return [{"params": groups[True]}, {"params": groups[False], "weight_decay": 0.0}]


def train(
    model: LanguageModel,
    draw: Draw,
    recipe: Recipe,
    case: Case,
    device: str,
    check: Callable[[], None],
    checkpoint: Checkpoint | None = None,
    probe: Probe | None = None,
    ranks: Ranks = ALONE,
    lanes: Lanes | None = None,
) -> Trained:
    """Trains `model` in place on what `draw`, this rank's part of every batch, makes of a generator
    seeded by the case, or takes from `lanes`.

    `check()` may raise to end a run too long; `probe(step)` is asked PROBES times how far the
    model is. Raises Diverged at a loss that is not finite, at the latest LOOK_EVERY steps later.
    """
    run = _Run(model, draw, recipe, case, device, ranks, lanes)
    if checkpoint is not None:
        run.load(checkpoint)
    done, probe_every = run.done, math.ceil(recipe.steps / PROBES)
    saved = time.perf_counter()
    while run.step < recipe.steps:
        check()
        run.advance()
        looking = run.step % LOOK_EVERY[device] == 0 or run.step == recipe.steps
        if looking:
            run.look()
        if probe is not None and (run.step % probe_every == 0 or run.step == recipe.steps):
            done.progress.append(probe(run.step))
        late = time.perf_counter() - saved >= CHECKPOINT_EVERY_S
        unfinished = run.step < recipe.steps
        if checkpoint is not None and looking and unfinished and ranks.first(late):
            run.save(checkpoint)
            saved = time.perf_counter()
    run.look()
    return done


class _Run:
    def __init__(
        self,
        model: LanguageModel,
        draw: Draw,
        recipe: Recipe,
        case: Case,
        device: str,
        ranks: Ranks = ALONE,
        lanes: Lanes | None = None,
    ) -> None:
        assert case.lr is not None
        self.ranks, self.nll, self.lanes = ranks, ranks.spread(model), lanes
        self.model, self.draw, self.recipe = model, draw, recipe
        self.case, self.device, self.lr = case, device, case.lr
        self.optimizer = torch.optim.AdamW(
            decay_groups(model),
            lr=case.lr,
            betas=recipe.betas,
            weight_decay=recipe.weight_decay,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(case.seed)
        self.step, self.done, self.pending = 0, Trained(), list[tuple[Tensor, Any, Any]]()
        self.began, self.earlier_s = time.perf_counter(), 0.0

    def advance(self) -> None:
        """One optimizer step; its loss stays on the device until somebody looks."""
        inputs_BT, targets_BT, asked_BT = self.draw(self.generator)
        inputs_BT, targets_BT = _moved(inputs_BT, self.device), _moved(targets_BT, self.device)
        asked_BT = None if asked_BT is None else _moved(asked_BT, self.device)
        rate = self.lr * schedule(self.step, self.recipe.steps, self.recipe.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        start = _moment(self.device)
        with self.ranks.sharing(inputs_BT, targets_BT) as (tokens_BT, targets_BT):
            with precision(self.case, self.device):
                nll_BT = self.nll(tokens_BT, targets_BT)
                loss = nll_BT.mean()
                if asked_BT is not None:
                    loss = (nll_BT * asked_BT).sum() / asked_BT.sum()
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.pending.append((loss.detach(), start, _moment(self.device)))
        self.step += 1

    def look(self) -> None:
        """Wait for the steps under way, and take down their losses and seconds."""
        if self.pending:
            losses, starts, ends = zip(*self.pending, strict=True)
            self.pending.clear()
            for nats in self.ranks.mean(torch.stack(losses)).tolist():
                if not math.isfinite(nats):
                    raise Diverged(self.done.nats)
                self.done.nats.append(nats)
            self.done.step_s += sum(map(_between_s, starts, ends))
        self.done.train_s = self.earlier_s + time.perf_counter() - self.began

    def save(self, checkpoint: Checkpoint) -> None:
        """All ranks take part; the first writes."""
        state = {
            **self.ranks.state(self.model, self.optimizer),
            "draws": self.generator.get_state(),
            "lanes": None if self.lanes is None else self.ranks.together(self.lanes.places()),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if self.device == "cuda" else [],
            "step": self.step,
            "nats": self.done.nats,
            "progress": [asdict(seen) for seen in self.done.progress],
            "step_s": self.done.step_s,
            "train_s": self.done.train_s,
        }
        if self.ranks.rank == 0:
            checkpoint.save(state)

    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from it, if it holds anything; the first rank reads."""
        saved = checkpoint.load() if self.ranks.rank == 0 else None
        state = self.ranks.restore(saved, self.model, self.optimizer)
        if state is None:
            return
        self.generator.set_state(state["draws"])
        if self.lanes is not None:
            self.lanes.go_to(self.ranks.rows(state["lanes"]))
        torch.set_rng_state(state["torch"])
        torch.cuda.set_rng_state_all(state["cuda"])
        self.step, self.earlier_s = state["step"], state["train_s"]
        self.done.nats, self.done.step_s = state["nats"], state["step_s"]
        self.done.progress = [Progress(**seen) for seen in state["progress"]]


def _moved(tensor: Tensor, device: str) -> Tensor:
    """On the device. From pinned memory the copy is under way while Python draws on."""
    return tensor if device == "cpu" else tensor.pin_memory().to(device, non_blocking=True)


def _moment(device: str) -> Any:
    """Now; on CUDA an event in the stream, which nobody has to wait for."""
    if device == "cpu":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between_s(start: Any, end: Any) -> float:
    return end - start if isinstance(start, float) else start.elapsed_time(end) / 1e3
