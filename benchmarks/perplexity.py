"""Held-out loss, summed for the report to make perplexity and bits per byte of.

Windows stand side by side, so that the first tokens of each have little to go by: that is the loss
by position, at the trained length and at shorter and longer ones. At the trained length it is also
told in windows that overlap by half, where every target has at least half a window before it, as
Press et al., Shortformer, section 3  https://arxiv.org/abs/2012.15832, call sliding-window
evaluation.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from msgspec.structs import replace
from torch import Tensor

from archs import LanguageModel
from benchmarks.corpus import Corpus, Domain
from benchmarks.phases import precision
from results import Case, Evaluation

# bytes read of each part, in windows of the trained length, or of 256 where that is shorter: of
# bytes, so that all tokenizers are asked about the same text
WINDOWS = {"valid": 128, "test": 256}
SHORTEST = 256
CONTEXTS = (1 / 4, 1 / 2, 1, 2, 4, 8)  # of the trained length
FORWARD_TOKENS = 2**13  # in one forward pass, whatever the context


def windows(text: Tensor, starts: Tensor, length: int, device: str) -> Tensor:
    """(len(starts), length + 1) tokens: `length` to read and, one later, `length` to predict."""
    return text[starts[:, None] + torch.arange(length + 1)].to(device, torch.int64)


def spread(text: Tensor, count: int, length: int) -> Tensor:
    """(count, length) windows, evenly over the text."""
    starts = torch.linspace(0, len(text) - length, count, dtype=torch.float64).long()
    return windows(text, starts, length - 1, "cpu")


def position_edges(context: int) -> tuple[int, ...]:
    """1, 2, 4, … below `context`: how many tokens each bin's first target was predicted from."""
    return tuple(2**i for i in range(max(1, (context - 1).bit_length())))


class Losses(NamedTuple):
    """Of each target in windows of one context."""

    nats_WT: Tensor  # float64
    bytes_WT: Tensor  # that each target spells

    def told(self, split: Any, last: int, stride: int | None = None) -> Evaluation:
        """Sums over the last so many targets of each window."""
        count, context = self.nats_WT.shape
        edges = position_edges(context)
        places_T = torch.arange(1, context + 1)[-last:]
        bin_T = torch.bucketize(places_T, torch.tensor(edges), right=True) - 1
        nats = torch.zeros(len(edges), dtype=torch.float64)
        return Evaluation(
            split=split,
            context=context,
            stride=stride,
            position_edges=edges,
            nats=tuple(nats.index_add_(0, bin_T, self.nats_WT[:, -last:].sum(0)).tolist()),
            tokens=tuple((torch.bincount(bin_T, minlength=len(edges)) * count).tolist()),
            target_bytes=int(self.bytes_WT[:, -last:].sum()),
        )


class Reader:
    """Asks one model about text."""

    def __init__(self, model: LanguageModel, case: Case, token_bytes: Tensor, device: str) -> None:
        self.model, self.case, self.device = model, case, device
        self.token_bytes = token_bytes  # that each token of the vocabulary spells

    def targets(self, text: Tensor, limit_bytes: int) -> int:
        """How many targets of `text` spell its first `limit_bytes`, or all of it."""
        spelled = self.token_bytes[text[1 : limit_bytes + 1].long()].cumsum(0)
        return int((spelled <= limit_bytes).sum())

    @torch.inference_mode()
    def losses(self, text: Tensor, context: int, targets: int, skip: int = 0) -> Losses:
        """In disjoint windows over the first `targets` targets but the first `skip`.

        Raises ValueError if that is less than one window.
        """
        count = (targets - skip) // context
        if count < 1:
            raise ValueError(
                f"held-out text of {len(text)} tokens is too short for a context of {context}"
            )
        nats, spelled = [], []
        starts = skip + torch.arange(count) * context
        for some in starts.split(max(1, FORWARD_TOKENS // context)):
            window = windows(text, some, context, self.device)
            with precision(self.case, self.device):
                nll_BT = self.model.nll(window[:, :-1], window[:, 1:])
            nats.append(nll_BT.double().cpu())
            spelled.append(self.token_bytes[window[:, 1:].cpu()])
        return Losses(torch.cat(nats), torch.cat(spelled))

    def sliding(self, even: Losses, text: Tensor, targets: int) -> Evaluation:
        """With windows between the `even` ones, which start at 0, C, 2C, … of the test text: each
        then scores what the one before it did not reach."""
        context = even.nats_WT.shape[1]
        half = context // 2
        between = self.losses(text, context, targets, skip=half)
        stride = context - half
        return together([even.told("test", stride, stride), between.told("test", half, stride)])


def together(parts: Sequence[Evaluation]) -> Evaluation:
    """The sums of all parts, which have one context."""
    return replace(
        parts[0],
        nats=tuple(map(sum, zip(*(part.nats for part in parts), strict=True))),
        tokens=tuple(map(sum, zip(*(part.tokens for part in parts), strict=True))),
        target_bytes=sum(part.target_bytes for part in parts),
    )


def held_out(
    model: LanguageModel,
    case: Case,
    corpus: Corpus,
    device: str,
    lengths: Sequence[float] = CONTEXTS,
) -> dict[str, Any]:
    """Fields of a Record: valid at the trained length, for choosing; test at contexts of `lengths`
    times that, for telling; each domain by itself, and all of them, which count alike, together.

    A context past a learned position table's end cannot be asked and is left out. Raises ValueError
    if the text is too short for the trained length.
    """
    reader = Reader(model, case, corpus.tokenizer.token_bytes, device)
    trained, table = case.seq_len, model.config.max_len
    limits = {part: count * max(trained, SHORTEST) for part, count in WINDOWS.items()}
    domains = corpus.domains or (Domain(corpus.name, corpus.valid, corpus.test),)
    available = [reader.targets(domain.test, limits["test"]) for domain in domains]
    contexts = [c for c in (round(trained * c) for c in lengths) if 1 <= c <= min(available)]
    longest = max(contexts, default=1)

    def of(domain: Domain, targets: int) -> list[Evaluation]:
        valid = reader.targets(domain.valid, limits["valid"])
        told = [reader.losses(domain.valid, trained, valid).told("valid", trained)]
        for context in contexts:
            if table is None or context <= table:
                even = reader.losses(domain.test, context, targets)
                told.append(even.told("test", context))
                if context == trained and trained > 1 and 2 * trained <= longest:
                    told.append(reader.sliding(even, domain.test, targets))
        return told

    # whole windows of the longest, so that every context and architecture has the same targets
    told = [
        of(domain, count // longest * longest)
        for domain, count in zip(domains, available, strict=True)
    ]
    everything = [together(alike) for alike in zip(*told, strict=True)]
    return {
        "evaluations": tuple(e for e in everything if e.stride is None),
        "sliding": next((e for e in everything if e.stride is not None), None),
        "by_domain": tuple(
            replace(e, domain=domain.name)
            for domain, its in zip(corpus.domains, told[: len(corpus.domains)], strict=True)
            for e in its
        ),
    }
