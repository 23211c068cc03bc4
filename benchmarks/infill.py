"""Train one trunk to fill in masked tokens or to go on, then ask both what they understood of text.

Of both: held-out loss, of masked tokens or of the next one, two quantities that are not compared;
gaps filled in held-out windows; where in the training text a block is from, as a linear reader of
the frozen states says. Of masked ones also the log-probability of every token, it alone masked.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from archs import LanguageModel
from benchmarks import linear_probe, masking, quality
from benchmarks.corpus import Corpus, Domain
from benchmarks.filling import Filler
from benchmarks.perplexity import (
    FORWARD_TOKENS,
    SHORTEST,
    WINDOWS,
    Reader,
    held_out,
    spread,
    windows,
)
from benchmarks.phases import precision
from benchmarks.training import Checkpoint
from results import Case, Evaluation, Gaps

GAPS = (1, 4)  # tokens
GAP_WINDOWS = 1024
PSEUDO_WINDOWS = 32  # each is read once for each of its tokens
SEEDS = {"valid": 1, "test": 2, "gaps": 3}  # the same draws for every architecture and seed


def stream(what: str) -> torch.Generator:
    return torch.Generator().manual_seed(SEEDS[what])


@torch.inference_mode()
def masked_loss(
    model: LanguageModel,
    case: Case,
    texts: list[Tensor],
    token_bytes: Tensor,
    split: Any,
    device: str,
) -> Evaluation:
    """In the windows that a causal model is asked about, of every domain's text."""
    reader, mask = Reader(model, case, token_bytes, device), len(token_bytes)
    limit, length, draws = WINDOWS[split] * max(case.seq_len, SHORTEST), case.seq_len, stream(split)
    count, nats, targets = masking.count(case), 0.0, list[Tensor]()
    for text in texts:
        starts = torch.arange(reader.targets(text, limit) // length) * length
        for some in starts.split(max(1, FORWARD_TOKENS // length)):
            batch = masking.masked(windows(text, some, length - 1, "cpu"), mask, count, draws)
            with precision(case, device):
                nll_BT = model.nll(batch.inputs_BT.to(device), batch.targets_BT.to(device))
            nats += float(nll_BT.double().cpu()[batch.asked_BT].sum())
            targets.append(batch.targets_BT[batch.asked_BT])
    asked = torch.cat(targets)
    return Evaluation(
        split=split,
        context=length,
        position_edges=(length - count,),
        nats=(nats,),
        tokens=(len(asked),),
        target_bytes=int(token_bytes[asked].sum()),
    )


def losses(model: LanguageModel, case: Case, corpus: Corpus, device: str) -> dict[str, Any]:
    """Fields of a Record: held-out loss of what the model was trained for."""
    if case.masked is None:
        return held_out(model, case, corpus, device, lengths=(1,))
    domains = corpus.domains or (Domain(corpus.name, corpus.valid, corpus.test),)
    told = partial(
        masked_loss, model, case, token_bytes=corpus.tokenizer.token_bytes, device=device
    )
    return {
        "evaluations": (
            told([domain.valid for domain in domains], split="valid"),
            told([domain.test for domain in domains], split="test"),
        )
    }


def gaps(filler: Filler, text: Tensor, length: int) -> tuple[Gaps, ...]:
    """At places drawn in each window, with a token before them at least: the same for all."""
    draws, told = stream("gaps"), []
    for gap in GAPS:
        if gap < length:
            text_BT = spread(text, GAP_WINDOWS, length)
            starts_B = torch.randint(1, length - gap + 1, (GAP_WINDOWS,), generator=draws)
            told.append(filler.gaps(text_BT, starts_B, gap))
    return tuple(told)


def observe(
    case: Case,
    corpus: Corpus,
    device: str,
    check: Callable[[], None],
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:
    """The fields of a Record. Raises ValueError on a causal architecture that is to be masked or a
    training text too short to probe, Diverged, or what `check` raises."""
    masking.refuse_unless_it_can_mask(case.arch, case.masked)
    token_bytes = corpus.tokenizer.token_bytes
    probe = partial(linear_probe.probe, case=case, text=corpus.train, device=device)
    untrained = probe(quality.built(case, corpus, device), trained=False)
    batch_of = partial(masking.batch, case, len(token_bytes))
    model, facts = quality.trained(case, corpus, device, check, checkpoint, batch_of=batch_of)
    filler, pseudo = Filler(model, case, device), None
    if case.masked is not None:
        pseudo = filler.pseudo(spread(corpus.test, PSEUDO_WINDOWS, case.seq_len), token_bytes)
    return {
        **facts,
        **losses(model, case, corpus, device),
        "gaps": gaps(filler, corpus.test, case.seq_len),
        "pseudo": pseudo,
        "linear_probes": (untrained, probe(model, trained=True)),
    }
