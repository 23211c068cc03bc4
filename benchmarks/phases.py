"""What one timed step is. Each phase sets up its inputs once and returns the work to time."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from archs import LanguageModel
from benchmarks import modes
from benchmarks.ranks import ALONE, Ranks
from results import Case

ADAM: dict[str, Any] = {"betas": (0.9, 0.95), "weight_decay": 0.1}
RING = 4  # batches that take turns
DECODE_ROOM = 128  # tokens past seq_len that are decoded before the context is taken up anew

Step = Callable[[], object]


@dataclass(frozen=True)
class Work:
    """`step` is timed; `before`, called ahead of each, is not."""

    step: Step
    before: Callable[[], None] = lambda: None


def max_len(case: Case) -> int:
    """The longest sequence the case feeds its model."""
    return case.seq_len + (DECODE_ROOM if case.phase == "decode" else 0)


def precision(case: Case, device: str) -> AbstractContextManager[object]:
    """Training keeps float32 weights and multiplies in the case's dtype."""
    dtype = getattr(torch, case.dtype)
    return torch.autocast(device, dtype=dtype, enabled=dtype != torch.float32)


def _tokens(case: Case, model: LanguageModel, length: int) -> Tensor:
    weight = model.embed.weight
    return torch.randint(len(weight), (case.batch, length), device=weight.device)


def _turning(tokens_BT: Tensor, model: LanguageModel) -> Callable[[], None]:
    """Puts the next batch of a ring where `tokens_BT` is, as a loop over data does: a step that met
    the same tokens again would find in the cache what a user's would not. A batch is drawn when it
    is first met, so that a memory pass, which does not turn, does not hold the ring."""
    vocab_size = len(model.embed.weight)
    ring = cycle(torch.randint_like(tokens_BT, vocab_size) for _ in range(RING))

    def turn() -> None:
        tokens_BT.copy_(next(ring))

    return turn


def train(model: LanguageModel, case: Case, ranks: Ranks = ALONE) -> Work:
    """Forward, backward and optimizer step on batch x seq_len random tokens, of which each rank has
    its part; returns no state."""
    text = ranks.rows(_tokens(case, model, case.seq_len + 1))
    nll = modes.compiled(ranks.spread(model), case.mode)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True, **ADAM)
    device = text.device.type

    def step() -> None:
        with ranks.sharing(text[:, :-1], text[:, 1:]) as (tokens_BT, targets_BT):
            with precision(case, device):
                loss = nll(tokens_BT, targets_BT).mean()
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return Work(step, _turning(text, model))


def prefill(model: LanguageModel, case: Case) -> Work:
    """Read a seq_len prompt into fresh state and score its next token; returns the state."""
    model.to(getattr(torch, case.dtype))
    prompt = _tokens(case, model, case.seq_len)

    def read(prompt: Tensor, states: Any) -> tuple[Tensor, Any]:
        x_BTD, states = model(prompt, states)
        return model.logits(x_BTD[:, -1:]), states

    read = modes.compiled(read, case.mode)

    @torch.inference_mode()
    def step() -> object:
        _, states = read(prompt, model.init_state(case.batch, case.seq_len))
        return states

    return Work(step, _turning(prompt, model))


def decode(model: LanguageModel, case: Case) -> Work:
    """One greedy token after a context of seq_len to seq_len + DECODE_ROOM; returns the state."""
    model.to(getattr(torch, case.dtype))

    def advance(token_B1: Tensor, states: Any) -> tuple[Tensor, Any]:
        x_B1D, states = model(token_B1, states)
        return model.logits(x_B1D).argmax(dim=-1), states

    with torch.inference_mode():
        states = model.init_state(case.batch, max_len(case))
        _, states = model(_tokens(case, model, case.seq_len), states)
        decoder = modes.decoder(case.mode, advance, _tokens(case, model, 1), states)
    after_context, decoded = None, 0

    @torch.inference_mode()
    def rewind() -> None:
        """Back to the context once the room is used. The copy it goes back to is first made here,
        so that a memory pass, which does not rewind, does not hold it."""
        nonlocal after_context, decoded
        if after_context is None:
            after_context = tree_map(torch.clone, decoder.states)
        if decoded == DECODE_ROOM:
            decoder.load(after_context)
            decoded = 0
        decoded += 1

    return Work(torch.inference_mode()(decoder.step), rewind)


PHASES: dict[str, Callable[[LanguageModel, Case], Work]] = {
    "train": train,
    "prefill": prefill,
    "decode": decode,
}
