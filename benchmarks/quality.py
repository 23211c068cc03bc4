"""Train to a token budget, then held-out loss: what the cost measured elsewhere buys.

Every architecture sees the same bytes in the same order: windows at places drawn from the seed
alone. AdamW, linear warm-up over 5 % of the steps, cosine to a tenth, gradients clipped to norm 1.
"""

import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import archs
from archs import LanguageModel
from archs._ops import noting_kernels
from benchmarks.corpus import Corpus
from benchmarks.machine import clock
from benchmarks.phases import ADAM, precision
from results import Case, Evaluation

VALID_TOKENS = 2**15
TEST_TOKENS = 2**16
EVALUATION_TOKENS = 2**13  # in one forward pass, whatever the context
CONTEXTS = (1 / 4, 1 / 2, 1, 2, 4)  # of the trained length

LEARNING_RATES = Path(__file__).with_name("learning_rates.toml")


class Diverged(ArithmeticError):
    """The training loss stopped being a number; carries the losses up to there."""

    def __init__(self, nats: list[float]) -> None:
        super().__init__(f"the training loss is not finite at step {len(nats) + 1}")
        self.nats = nats


def default_lr(arch: str, size: str) -> float:
    """The swept rate at d_model 64, scaled by 1/√d_model; an unswept architecture gets "other"."""
    swept = tomllib.loads(LEARNING_RATES.read_text())["d_model_64"]
    d_model = archs.load(arch).SIZES[size].d_model
    return float(f"{swept.get(arch, swept['other']) * math.sqrt(64 / d_model):.3g}")


def decay_groups(model: LanguageModel) -> list[dict[str, Any]]:
    """Matrices that multiply are decayed; norms, biases and a recurrence's own numbers are not."""
    groups: dict[bool, list[Tensor]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        matrix = name.rpartition(".")[2].startswith("weight") and parameter.ndim >= 2
        groups[matrix].append(parameter)
    return [{"params": groups[True]}, {"params": groups[False], "weight_decay": 0.0}]


def schedule(step: int, steps: int) -> float:
    """The share of the peak learning rate at `step` of `steps`."""
    warmup = max(1, steps // 20)
    if step < warmup:
        return (step + 1) / warmup
    return 0.55 + 0.45 * math.cos(math.pi * (step - warmup) / max(1, steps - warmup))


def train(
    model: LanguageModel, case: Case, corpus: Corpus, device: str, check: Callable[[], None]
) -> list[float]:
    """The mean loss in nats of each optimizer step. `check()` may raise to end a run too long.

    Raises Diverged as soon as a loss is not finite.
    """
    assert case.tokens is not None and case.lr is not None
    steps = max(1, case.tokens // (case.batch * case.seq_len))
    places = torch.Generator().manual_seed(case.seed)
    optimizer = torch.optim.AdamW(decay_groups(model), lr=case.lr, fused=True, **ADAM)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))
    nats: list[float] = []
    for _ in range(steps):
        check()
        starts = torch.randint(len(corpus.train) - case.seq_len, (case.batch,), generator=places)
        text = windows(corpus.train, starts, case.seq_len, device)
        with precision(case, device):
            loss = model.nll(text[:, :-1], text[:, 1:]).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if not math.isfinite(loss.item()):
            raise Diverged(nats)
        nats.append(loss.item())
        optimizer.step()
        optimizer.zero_grad()
        rate.step()
    return nats


def windows(text: Tensor, starts: Tensor, length: int, device: str) -> Tensor:
    """(len(starts), length + 1) tokens: `length` to read and, one later, `length` to predict."""
    return text[starts[:, None] + torch.arange(length + 1)].to(device, torch.int64)


def position_edges(context: int) -> tuple[int, ...]:
    """1, 2, 4, … below `context`: how many tokens each bin's first target was predicted from."""
    return tuple(2**i for i in range(max(1, (context - 1).bit_length())))


@torch.inference_mode()
def evaluate(
    model: LanguageModel,
    text: Tensor,
    split: Any,
    context: int,
    targets: int,
    device: str,
    case: Case,
) -> Evaluation:
    """Loss on the first `targets` targets of `text` (fewer, if it is short), in disjoint windows.

    Raises ValueError if the text is shorter than one window.
    """
    count = min(targets, len(text) - 1) // context
    if count == 0:
        raise ValueError(
            f"the {split} text has {len(text)} bytes: too few for a context of {context}"
        )
    edges = position_edges(context)
    bin_of_T = torch.bucketize(torch.arange(1, context + 1), torch.tensor(edges), right=True) - 1
    nats = torch.zeros(len(edges), dtype=torch.float64)
    for starts in (torch.arange(count) * context).split(max(1, EVALUATION_TOKENS // context)):
        window = windows(text, starts, context, device)
        with precision(case, device):
            nll_BT = model.nll(window[:, :-1], window[:, 1:])
        nats.index_add_(0, bin_of_T, nll_BT.double().sum(0).cpu())
    tokens = torch.bincount(bin_of_T, minlength=len(edges)) * count
    return Evaluation(
        split=split,
        context=context,
        position_edges=edges,
        nats=tuple(nats.tolist()),
        tokens=tuple(tokens.tolist()),
        target_bytes=count * context,  # a token is a byte
    )


def evaluations(
    model: LanguageModel, case: Case, corpus: Corpus, device: str
) -> tuple[Evaluation, ...]:
    """Valid at the trained length, for choosing; test at shorter and longer contexts, for telling.

    A context past a learned position table's end cannot be asked and is left out.
    """
    table = model.config.max_len
    contexts = [round(case.seq_len * c) for c in CONTEXTS]
    contexts = [c for c in contexts if 1 <= c < len(corpus.test)]
    # whole windows of the longest, so that every context and architecture has the same targets
    targets = min(TEST_TOKENS, len(corpus.test) - 1) // contexts[-1] * contexts[-1]
    asked = [("valid", corpus.valid, case.seq_len, VALID_TOKENS)]
    asked += [("test", corpus.test, c, targets) for c in contexts if table is None or c <= table]
    return tuple(
        evaluate(model, text, split, context, targets, device, case)
        for split, text, context, targets in asked
    )


def observe(case: Case, corpus: Corpus, device: str, check: Callable[[], None]) -> dict[str, Any]:
    """Train and evaluate: the fields of a Record. Raises Diverged, or what `check` raises."""
    torch.manual_seed(case.seed)
    model = archs.build(
        case.arch, case.size, max_len=case.seq_len, vocab_size=256, kernel=case.kernel
    ).to(device)
    start = clock()
    with noting_kernels() as kernels:
        nats = train(model, case, corpus, device, check)
    train_s = clock() - start
    return {
        "kernels": kernels,
        "corpus_sha256": corpus.sha256,
        "train_nats": tuple(nats),
        "train_s": train_s,
        "evaluations": evaluations(model, case, corpus, device),
    }
