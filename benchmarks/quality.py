"""Train to a token budget, then held-out loss: what the cost measured elsewhere buys. A checkpoint
is told about as it is.

Every architecture sees the same bytes in the same order: windows at places drawn from the seed
alone, or a stream in lanes (benchmarks/lanes.py). The loop is benchmarks/training.py's, with a
warm-up over 5 % of the steps.
"""

import math
import tomllib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch

import archs
from archs import LanguageModel
from archs._ops import noting_kernels
from benchmarks import masking, training
from benchmarks.corpus import Corpus
from benchmarks.data import vocabulary
from benchmarks.lanes import Lanes
from benchmarks.perplexity import held_out, spread, windows
from benchmarks.phases import ADAM
from benchmarks.ranks import ALONE, Ranks
from benchmarks.remembrance import WINDOWS, predictor, remembrance
from benchmarks.training import Batch, Checkpoint, Probe, Recipe, Trained
from results import Case, Remembrance

LEARNING_RATES = Path(__file__).with_name("learning_rates.toml")


# windows with one token more than is read, and what draws
Batches = Callable[[torch.Tensor, torch.Generator], Batch]


@cache
def default_lr(arch: str, size: str, task: str | None = None) -> float:
    """The swept rate at d_model 64, scaled by 1/√d_model; an unswept architecture gets "other".

    A task, or phase, without a table of its own gets the rates of text.
    """
    tables: dict[str, dict[str, float]] = tomllib.loads(LEARNING_RATES.read_text())
    text = tables["d_model_64"]
    swept = text if task is None else tables.get(task, text)
    rate = swept.get(arch, swept["other"]) * math.sqrt(64 / archs.d_model(arch, size))
    return float(f"{rate:.3g}")


def tokens_for(flops: float, case: Case) -> int:
    """Tokens that train the case's model for `flops`: a backward pass is two forward ones.

    Raises ValueError if the architecture does not say what a token takes.
    """
    with torch.device("meta"):
        model = archs.build(
            case.arch,
            case.size,
            max_len=case.seq_len,
            vocab_size=vocabulary.size(case.tokenizer) + masking.mask_tokens(case),
            short_conv=case.short_conv,
            causal=masking.reads_one_way(case),
        )
    forward = model.forward_flops(case.seq_len)
    if forward is None:
        raise ValueError(f"--flops: {case.arch} does not say how many a token takes; use --tokens")
    return round(flops / (3 * forward))


def next_tokens(text: torch.Tensor, draws: torch.Generator) -> Batch:
    return Batch(text[:, :-1], text[:, 1:])


def train(
    model: LanguageModel,
    case: Case,
    corpus: Corpus,
    device: str,
    check: Callable[[], None],
    checkpoint: Checkpoint | None,
    probe: Probe | None = None,
    ranks: Ranks = ALONE,
    batch_of: Batches = next_tokens,
) -> Trained:
    """Windows at places drawn from the seed alone, whatever the architecture, or the stream's."""
    assert case.tokens is not None
    steps = max(1, case.tokens // (case.batch * case.seq_len))
    whole, lanes = corpus.train[: case.unique_bytes], None
    if corpus.stream is not None and case.unique_bytes is None:
        mine = ranks.rows(torch.arange(case.batch)).tolist()
        lanes = Lanes(corpus.stream, corpus.tokenizer.encode, mine, case.batch)

    def draw(places: torch.Generator) -> Batch:
        if lanes is not None:
            text = lanes.take(case.seq_len)
        else:
            last = len(whole) - case.seq_len
            starts = ranks.rows(torch.randint(last, (case.batch,), generator=places))
            text = windows(whole, starts, case.seq_len, "cpu")
        return batch_of(text, places)

    recipe = Recipe(steps=steps, warmup=max(1, steps // 20), **ADAM)
    return training.train(
        model, draw, recipe, case, device, check, checkpoint, probe, ranks=ranks, lanes=lanes
    )


def remembered(model: LanguageModel, case: Case, corpus: Corpus, device: str) -> Remembrance:
    """At places spread evenly over the test text, at the trained length."""
    text_BT = spread(corpus.test, WINDOWS, case.seq_len + 1)
    return remembrance(predictor(model, case, device), text_BT)


def built(case: Case, corpus: Corpus, device: str) -> LanguageModel:
    return fresh(case, len(corpus.tokenizer.token_bytes) + masking.mask_tokens(case), device)


def fresh(case: Case, vocab_size: int, device: str) -> LanguageModel:
    """With the seed's fresh weights, or a checkpoint's."""
    torch.manual_seed(case.seed)
    return archs.build(
        case.arch,
        case.size,
        max_len=case.seq_len,
        vocab_size=vocab_size,
        kernel=case.kernel,
        short_conv=case.short_conv,
        causal=masking.reads_one_way(case),
    ).to(device)


def trained(
    case: Case,
    corpus: Corpus,
    device: str,
    check: Callable[[], None],
    checkpoint: Checkpoint | None = None,
    probe_of: Callable[[LanguageModel], Probe] | None = None,
    ranks: Ranks = ALONE,
    batch_of: Batches = next_tokens,
) -> tuple[LanguageModel, dict[str, Any]]:
    """The model, and its training's fields of a Record; without a budget it is not trained.

    Raises Diverged, or what `check` raises.
    """
    assert corpus.tokenizer.name == case.tokenizer
    model = built(case, corpus, device)
    facts: dict[str, Any] = {}
    with noting_kernels() as kernels:
        if case.tokens is not None:
            probe = None if probe_of is None else probe_of(model)
            done = train(model, case, corpus, device, check, checkpoint, probe, ranks, batch_of)
            facts = done.facts()
    return model, {
        "kernels": kernels,
        "corpus_sha256": corpus.sha256,
        "tokenizer_sha256": corpus.tokenizer.sha256,
        **facts,
    }


def observe(
    case: Case,
    corpus: Corpus,
    device: str,
    check: Callable[[], None],
    checkpoint: Checkpoint | None = None,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Train and evaluate: the fields of a Record. Raises Diverged, or what `check` raises.

    Every one of several ranks is asked about all of the held-out text.
    """
    model, facts = trained(case, corpus, device, check, checkpoint, ranks=ranks)
    return {
        **facts,
        **held_out(model, case, corpus, device),
        "remembrance": remembered(model, case, corpus, device),
    }
