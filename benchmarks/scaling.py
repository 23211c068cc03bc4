"""Train as for quality, at many sizes and budgets; tell the held-out loss at the trained length.

Where training reads little text again and again, validation loss is looked at on the way, so that
the report can stop early, as whoever trained it would.
"""

from collections.abc import Callable
from typing import Any

from archs import LanguageModel
from archs._ops import noting_kernels
from benchmarks import quality
from benchmarks.corpus import Corpus
from benchmarks.perplexity import SHORTEST, Reader, held_out
from benchmarks.training import Checkpoint, Probe
from results import Case, Progress

LOOKED_AT = (
    32  # windows of validation text, at each of 20 looks: more would cost as much as training
)


def prober(case: Case, corpus: Corpus, device: str) -> Callable[[LanguageModel], Probe]:
    """Of a model: validation loss after so many steps."""

    def of(model: LanguageModel) -> Probe:
        reader = Reader(model, case, corpus.tokenizer.token_bytes, device)
        limit = LOOKED_AT * max(case.seq_len, SHORTEST)
        targets = reader.targets(corpus.valid, limit)

        def probe(step: int) -> Progress:
            with noting_kernels():  # which are not those of training
                losses = reader.losses(corpus.valid, case.seq_len, targets)
            nats_WT = losses.nats_WT
            return Progress(step=step, answers=nats_WT.numel(), nats=float(nats_WT.sum()))

        return probe

    return of


def observe(
    case: Case,
    corpus: Corpus,
    device: str,
    check: Callable[[], None],
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:
    """The fields of a Record. Raises Diverged, or what `check` raises."""
    probe_of = None if case.unique_bytes is None else prober(case, corpus, device)
    model, facts = quality.trained(case, corpus, device, check, checkpoint, probe_of)
    return facts | held_out(model, case, corpus, device, lengths=(1,))
