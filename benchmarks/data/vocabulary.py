"""Bytes, or a byte-level BPE trained on the corpus's own training text, as tokens.

Every byte has a token of its own, so any text can be written and none is unknown. A token knows how
many bytes it spells: losses of different tokenizers meet in bits per byte. BPE: Sennrich et al.
https://arxiv.org/abs/1508.07909, over bytes as in GPT-2.
"""

import codecs
import hashlib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from benchmarks.data import cache

PREFIX = "bpe:"
FORM = f"bytes or {PREFIX}N, N tokens above 256, such as {PREFIX}4096"
CONTINUES = bytes(range(0x80, 0xC0))  # UTF-8: no character begins with one of these


Encode = Callable[[bytes], Tensor]


@dataclass(frozen=True, eq=False)
class Tokenizer:
    name: str
    sha256: str | None  # of the JSON that defines it; None: bytes
    token_bytes: Tensor  # how many bytes each token of the vocabulary spells
    encode: Encode  # any text's tokens


def of_bytes(text: bytes) -> Tensor:
    if not text:
        return torch.empty(0, dtype=torch.uint8)
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


BYTES = Tokenizer("bytes", None, torch.ones(256, dtype=torch.int64), of_bytes)

_given: dict[str, Callable[[], tuple[Tokenizer, Encode]]] = {}


def add(name: str, tokenizer: Callable[[], tuple[Tokenizer, Encode]]) -> None:
    """Know a tokenizer that was trained elsewhere, which a call gets once it is asked for."""
    _given[name] = tokenizer


def is_given(name: str) -> bool:
    return name in _given


def size(name: str) -> int:
    """Raises ValueError on a name that is no tokenizer's."""
    if name in _given:
        return len(_given[name]()[0].token_bytes)
    if name == BYTES.name:
        return len(BYTES.token_bytes)
    size = name.removeprefix(PREFIX)
    if size == name or not size.isdecimal() or int(size) <= 256:
        raise ValueError(f"--tokenizer {name}: it must be {FORM}")
    return int(size)


def trained(name: str, text: bytes) -> tuple[Tokenizer, Encode]:
    """The BPE of this name, trained on `text`, or the one that was given; and its encoder of a text
    that will be asked for again, which is cached.

    A token of one trained here never reaches past the end of a line. Training the same text again
    gives the same tokens, so what is cached is what would be trained. Raises ValueError if the
    package tokenizers is missing or a text is not UTF-8.
    """
    if name in _given:
        return _given[name]()
    count = size(name)
    library = tokenizers(f"--tokenizer {name}")

    def train() -> bytes:
        bpe = library.Tokenizer(library.models.BPE())
        bpe.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe.decoder = library.decoders.ByteLevel()
        trainer = library.trainers.BpeTrainer(
            vocab_size=count,
            initial_alphabet=sorted(library.pre_tokenizers.ByteLevel.alphabet()),
            show_progress=False,
        )
        bpe.train_from_iterator(_lines(text), trainer)
        return str(bpe.to_str()).encode()

    key = f"bpe{count}-{_short(text)}"
    definition = cache.kept(f"{key}.json", train)
    bpe = library.Tokenizer.from_str(definition.decode())

    def encode(part: bytes) -> Tensor:
        lines = bpe.encode_batch_fast(_lines(part))
        ids = list(chain.from_iterable(line.ids for line in lines))
        return torch.tensor(ids, dtype=torch.int32)

    def encode_once(part: bytes) -> Tensor:
        # in the byte order of this machine, whose cache it is
        name = f"{key}-{_short(definition + part)}.tokens"
        whole = bytearray(cache.kept(name, lambda: bytes(encode(part).numpy())))
        empty = torch.empty(0, dtype=torch.int32)
        return torch.frombuffer(whole, dtype=torch.int32) if whole else empty

    # the library writes a token byte as one character; a short text has fewer tokens than `count`
    spelled = [bpe.id_to_token(token) or "" for token in range(count)]
    token_bytes = torch.tensor([len(token) for token in spelled])
    sha256 = hashlib.sha256(definition).hexdigest()
    return Tokenizer(name, sha256, token_bytes, encode), encode_once


def tokenizers(what: str) -> Any:
    """The library. Raises ValueError if it is missing, naming what asks for it."""
    try:
        return importlib.import_module("tokenizers")
    except ModuleNotFoundError:
        raise ValueError(
            f"{what} needs the package tokenizers; `pip install tokenizers`, or use "
            "--tokenizer bytes"
        ) from None


def _short(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def _lines(part: bytes) -> list[str]:
    return written(part).splitlines(keepends=True)


def written(part: bytes) -> str:
    """Without the pieces of a character that a cut between two parts can leave at the ends."""
    try:
        text, _ = codecs.utf_8_decode(part.lstrip(CONTINUES), "strict", False)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the corpus is not UTF-8 text ({error.reason}); use --tokenizer bytes"
        ) from None
    return text
