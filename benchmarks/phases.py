"""What one timed step is. Each phase sets up its inputs once and returns the work to time."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from archs import LanguageModel
from results import Case

ADAM: dict[str, Any] = {"betas": (0.9, 0.95), "weight_decay": 0.1}
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


def train(model: LanguageModel, case: Case) -> Work:
    """Forward, backward and optimizer step on batch x seq_len random tokens; returns no state."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True, **ADAM)
    text = _tokens(case, model, case.seq_len + 1)
    device = text.device.type

    def step() -> None:
        with precision(case, device):
            loss = model.nll(text[:, :-1], text[:, 1:]).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return Work(step)


def prefill(model: LanguageModel, case: Case) -> Work:
    """Read a seq_len prompt into fresh state and score its next token; returns the state."""
    model.to(getattr(torch, case.dtype))
    prompt = _tokens(case, model, case.seq_len)

    @torch.inference_mode()
    def step() -> object:
        x_BTD, states = model(prompt, model.init_state(case.batch, case.seq_len))
        model.logits(x_BTD[:, -1:])
        return states

    return Work(step)


def decode(model: LanguageModel, case: Case) -> Work:
    """One greedy token after a context of seq_len to seq_len + DECODE_ROOM; returns the state."""
    model.to(getattr(torch, case.dtype))
    with torch.inference_mode():
        states = model.init_state(case.batch, max_len(case))
        _, states = model(_tokens(case, model, case.seq_len), states)
    token_B1 = _tokens(case, model, 1)
    after_context, decoded = None, 0

    @torch.inference_mode()
    def rewind() -> None:
        """Back to the context once the room is used. The copy it goes back to is first made here,
        so that a memory pass, which does not rewind, does not hold it."""
        nonlocal after_context, decoded, states
        if after_context is None:
            after_context = tree_map(torch.clone, states)
        if decoded == DECODE_ROOM:
            states, decoded = tree_map(torch.clone, after_context), 0
        decoded += 1

    @torch.inference_mode()
    def step() -> object:
        nonlocal states, token_B1
        x_B1D, states = model(token_B1, states)
        token_B1 = model.logits(x_B1D).argmax(dim=-1)
        return states

    return Work(step, rewind)


PHASES: dict[str, Callable[[LanguageModel, Case], Work]] = {
    "train": train,
    "prefill": prefill,
    "decode": decode,
}
