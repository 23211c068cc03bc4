"""Dialogue as instructions: what was said so far, and the reply.

`dialogues` are those of the package chitchat-dataset (benchmarks/data/wheels.py), or they are the
user's own (chat_files.py). A model that has read other text, byte by byte, is fine-tuned on the
replies. Of what was said a prompt holds the last P bytes, with line breaks ahead where that is
less; of a reply the first R bytes. Held out are whole conversations, by corpus.py's rule.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from archs import LanguageModel
from benchmarks.align import chat_files
from benchmarks.align.instructions import ANSWERS, END, Asked, Pairs
from benchmarks.corpus import Corpus, part_of
from benchmarks.data import wheels
from benchmarks.perplexity import windows
from benchmarks.training import Batch

VOCAB_SIZE = 256  # bytes
DIALOGUES = "dialogues"
PADDING = b"\n"


class Split(NamedTuple):
    """Of each part, what was said and the answers to it: one, or the better and the worse."""

    train: tuple[Tensor, ...]
    test: tuple[Tensor, ...]


@dataclass(frozen=True, kw_only=True)
class Chats:
    corpus: Corpus  # what is read before
    seq_len: int
    sha256: str
    examples_of: Split
    preferences_of: Split | None
    vocab_size: int = VOCAB_SIZE
    gold: None = None

    @property
    def room(self) -> int:
        return room(self.seq_len)

    @property
    def held_out(self) -> Asked:
        """Spread evenly over what there is."""
        said, replies = self.examples_of.test
        some = torch.linspace(0, len(said) - 1, min(ANSWERS, len(said))).long()
        return Asked(said[some].long(), replies[some].long())

    @property
    def preferences(self) -> tuple[Pairs, Pairs] | None:
        if self.preferences_of is None:
            return None
        learned, held_out = (Pairs(*(p.long() for p in part)) for part in self.preferences_of)
        return learned, held_out

    def prepare(self, model: LanguageModel) -> None:
        """As the spine made them, which suits text."""

    def pretraining(self, batch: int, generator: torch.Generator) -> Batch:
        last = len(self.corpus.train) - self.seq_len
        starts = torch.randint(last, (batch,), generator=generator)
        text_BT = windows(self.corpus.train, starts, self.seq_len - 1, "cpu")
        return Batch(text_BT[:, :-1], text_BT[:, 1:])

    def examples(self, batch: int, generator: torch.Generator) -> Asked:
        said, replies = self.examples_of.train
        some = torch.randint(len(said), (batch,), generator=generator)
        return Asked(said[some].long(), replies[some].long())


def room(seq_len: int) -> int:
    return seq_len - seq_len // 2


def _cut(text: bytes, length: int) -> bytes:
    """The last `length` bytes."""
    return text[-length:].rjust(length, PADDING)


def _answer(text: bytes, length: int) -> bytes:
    """The first `length` bytes, the end among them if there is room."""
    return text[:length].ljust(length, bytes([END]))


def _table(texts: Iterable[bytes], width: int) -> Tensor:
    """(texts, width) bytes."""
    return torch.frombuffer(bytearray(b"".join(texts)), dtype=torch.uint8).view(-1, width)


Row = tuple[str, bytes, list[bytes]]  # a chat's name, what was said, the answers


def _split(rows: Iterable[Row], seq_len: int, answers: int) -> Split:
    parts: dict[str, list[list[bytes]]] = {
        part: [[] for _ in range(1 + answers)] for part in ("train", "valid", "test")
    }
    for name, said, replies in rows:
        columns = parts[part_of(name)]
        columns[0].append(_cut(said, seq_len // 2))
        for column, reply in zip(columns[1:], replies, strict=True):
            column.append(_answer(reply, room(seq_len)))
    widths = [seq_len // 2] + [room(seq_len)] * answers
    train, test = (tuple(map(_table, parts[part], widths)) for part in ("train", "test"))
    return Split(train, test)


@cache
def dialogues() -> wheels.Documents:
    """Raises ValueError if they cannot be had."""
    return wheels.documents(wheels.DIALOGUES)


def _turns() -> Iterator[Row]:
    """Each turn of each dialogue but the first, and all that was said before."""
    for name, text in dialogues().items():
        said = b""
        for line in text.encode().split(b"\n"):
            speaker, _, reply = line.partition(b": ")
            if said:
                yield name, said + speaker + b": ", [reply]
            said += line + b"\n"


def _own(whole: chat_files.Whole) -> tuple[Iterator[Row], Iterator[Row]]:
    """Of the user's files, to learn from and to compare."""
    chats = ((one.of, one.prompt.encode(), [one.completion.encode()]) for one in whole.chats)
    liked = (
        (one.of, one.prompt.encode(), [one.chosen.encode(), one.rejected.encode()])
        for one in whole.preferences
    )
    return chats, liked


@cache
def load(name: str, seq_len: int, corpus: Corpus) -> Chats:
    """Raises ValueError if they cannot be had."""
    if name == DIALOGUES:
        return Chats(
            corpus=corpus,
            seq_len=seq_len,
            sha256=wheels.DIALOGUES.documents_sha256,
            examples_of=_split(_turns(), seq_len, 1),
            preferences_of=None,
        )
    whole = chat_files.kept(name)
    chats, liked = _own(whole)
    return Chats(
        corpus=corpus,
        seq_len=seq_len,
        sha256=hashlib.sha256(chat_files.form(whole)).hexdigest(),
        examples_of=_split(chats, seq_len, 1),
        preferences_of=_split(liked, seq_len, 2) if whole.preferences else None,
    )
