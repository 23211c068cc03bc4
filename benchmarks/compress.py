"""Train as for quality, then code held-out text with the model, losslessly, and decode it again.

The text is PIECE_BYTES from each of LANES places spread evenly over the test text, coded side by
side in one stream. Other compressors get the same bytes, and as much training text as the model was
trained on, from as many places.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from archs import LanguageModel
from benchmarks import codecs, quality
from benchmarks.coder import CorruptStream, Predictor, decode, encode
from benchmarks.corpus import Corpus
from benchmarks.perplexity import held_out
from benchmarks.training import Checkpoint
from results import Case, Coding

LANES, PIECE_BYTES = 16, 2**11
WARM_BYTES = 2**24  # the most training text that other compressors read: they take 15 s for it


def pieces(text: Tensor, most_bytes: int) -> Tensor:
    """(LANES, bytes) from places spread evenly over `text`, which do not overlap.

    Raises ValueError if the text has less than a byte for each.
    """
    length = min(most_bytes, len(text)) // LANES
    if not length:
        raise ValueError(f"a text of {len(text)} bytes is too short for {LANES} pieces")
    starts = torch.linspace(0, len(text) - length, LANES, dtype=torch.float64).long()
    return text[starts[:, None] + torch.arange(length)]


def coding(
    model: LanguageModel, text_LT: Tensor, window: int, device: str, check: Callable[[], None]
) -> Coding:
    """Raises CorruptStream if what is decoded is not the text."""
    predictor = partial(Predictor, model, len(text_LT), window, device, check)
    start = time.perf_counter()
    encoded = encode(predictor(), text_LT)
    between = time.perf_counter()
    decoded_LT = decode(predictor(), encoded.stream)
    end = time.perf_counter()
    if not torch.equal(decoded_LT, text_LT):
        raise CorruptStream("the decoded text is not the encoded one, though its checksum is")
    return Coding(
        lanes=len(text_LT),
        text_bytes=text_LT.numel(),
        coded_bytes=len(encoded.stream),
        ideal_nats=encoded.ideal_nats,
        encode_s=between - start,
        decode_s=end - between,
    )


def observe(
    case: Case,
    corpus: Corpus,
    device: str,
    check: Callable[[], None],
    checkpoint: Checkpoint | None = None,
) -> dict[str, Any]:
    """Train, code and decode: the fields of a Record. Raises Diverged, or what `check` raises."""
    assert case.tokens is not None
    text_LT = pieces(corpus.test, LANES * PIECE_BYTES)
    model, facts = quality.trained(case, corpus, device, check, checkpoint)
    seen_LT = pieces(corpus.train, min(case.tokens, WARM_BYTES))
    return {
        **facts,
        **held_out(model, case, corpus, device),
        "training_bytes": len(corpus.train),
        "coding": coding(model, text_LT, case.seq_len, device, check),
        "codecs": codecs.measured(_joined(text_LT), _joined(seen_LT)),
    }


def _joined(text_LT: Tensor) -> bytes:
    return bytes(text_LT.flatten().numpy())
