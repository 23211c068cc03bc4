"""Names of folders and files: what they may be, so that none leads out of where it belongs."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

LONGEST_BYTES = 255  # of a file's name, on the usual file systems
LONGEST_PATH_BYTES = 3800  # of a folder's, so that with a file in it it is less than Linux's 4096
LONGEST_LABEL_BYTES = 100
T = TypeVar("T")
_LABEL = re.compile(r"\w[\w.-]*")
# no file on Windows, where a checkout of results/ may be put, whatever stands behind a dot
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE | re.ASCII)


def label(text: str) -> str:
    """`text`, which names a folder of Records and can be typed after any option.

    Raises ValueError otherwise.
    """
    fits = _LABEL.fullmatch(text) and not text.endswith(".") and not _RESERVED.fullmatch(text)
    if not fits or len(text.encode()) > LONGEST_LABEL_BYTES:
        raise ValueError(
            f"{text[:LONGEST_LABEL_BYTES]!r} cannot be a label, a folder's name: that takes up to "
            f"{LONGEST_LABEL_BYTES} letters, digits, _, - and ., the first a letter or digit, the "
            "last no dot, and no device of Windows such as con"
        )
    return text


def part(name: str, longest_bytes: int = LONGEST_BYTES) -> str:
    """`name`, which is one part of a path: a folder or a file in the folder before it.

    Raises ValueError otherwise.
    """
    if name in ("", ".", "..") or "/" in name or "\0" in name:
        raise ValueError(f"{name[:LONGEST_BYTES]!r} cannot be the name of a folder or file")
    if len(name.encode("utf-8", "surrogateescape")) > longest_bytes:
        raise ValueError(
            f"{name[:LONGEST_LABEL_BYTES]!r}… is too long for the name of a folder or file: "
            f"{len(name)} characters, of {longest_bytes}"
        )
    return name


def path(text: str) -> Path:
    """Of a file or folder. Raises ValueError if there can be none of that name."""
    if "\0" in text or len(os.fsencode(text)) > LONGEST_PATH_BYTES:
        raise ValueError(
            f"{text[:LONGEST_LABEL_BYTES]!r}… cannot be a path, or is too long for one"
        )
    for name in Path(text).parts:
        if name not in ("/", ".."):
            part(name)
    return Path(text)


def argument(convert: Callable[[str], T]) -> Callable[[str], T]:
    """As an argument's type: argparse shows the message of no other error than its own."""

    def converted(text: str) -> T:
        try:
            return convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return converted


folder = argument(path)


def parsed(parser: argparse.ArgumentParser, words: Sequence[str] | None) -> argparse.Namespace:
    """As parse_args does, but for `--option=--`, of which Python 3.11 makes an empty list."""
    for word in sys.argv[1:] if words is None else words:
        if word.startswith("--") and word.endswith("=--"):
            parser.error(f"{word}: -- is no value")
    return parser.parse_args(words)


def real(path: Path) -> Path:
    """Without links. A loop of them stays what it is, where Path.resolve may raise."""
    return Path(os.path.realpath(path))
