"""Text streamed from the Hugging Face hub or from files, through the optional package `datasets`.

A dataset can change, and only its first part is read beforehand; the SHA-256 of that is in the
corpus's name, so that other text never meets this one's Records.
"""

import hashlib
import importlib
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.data import cache

PREFIX = "hf:"  # the first part is all there is
STREAM = "stream:"  # the rest is read as training goes on
BYTES = 2**26  # of text, about as much as the largest pinned corpus; or all, where there is less
COLUMN = "text"
# how datasets reads a file, by its suffix
BUILDERS: dict[str, tuple[str, dict[str, str]]] = {
    ".txt": ("text", {"sample_by": "paragraph"}),
    ".jsonl": ("json", {}),
    ".json": ("json", {}),
    ".parquet": ("parquet", {}),
}
TAKES = (
    "it takes a text dataset's name, such as hf:Salesforce/wikitext:wikitext-103-raw-v1, and a "
    f"network that reaches the hub; {STREAM} also a file or folder of {', '.join(BUILDERS)}"
)


def documents(source: str) -> dict[str, str]:
    """Of `hf:NAME` or `hf:NAME:CONFIG`, the first rows of the train split, by their number.

    Raises ValueError if `datasets` is missing, the hub out of reach, or the dataset not text.
    """
    name = f"hf-{hashlib.sha256(source.encode()).hexdigest()[:16]}.json"
    return dict(json.loads(cache.kept(name, partial(_fetched, source))))


def _fetched(source: str) -> bytes:
    print(f"streaming {source}, this once, for {cache.folder()}", file=sys.stderr)
    return json.dumps(head(source), ensure_ascii=False, indent=0).encode()


def head(source: str) -> dict[str, str]:
    """The first rows, by their number. Raises ValueError as `rows` does."""
    texts, size = dict[str, str](), 0
    for number, text in rows(source):
        texts[str(number)] = text
        size += len(text.encode())
        if size >= BYTES:
            break
    return texts


def rows(source: str) -> Iterator[tuple[int, str]]:
    """Number and text of each row of the train split that has text, read as they are asked for.

    Of `hf:NAME[:CONFIG]`, `stream:NAME[:CONFIG]`, or `stream:PATH` of a file or folder. Raises
    ValueError if `datasets` is missing, the source out of reach, or not text.
    """
    try:
        datasets: Any = importlib.import_module("datasets")
    except ModuleNotFoundError:
        raise ValueError(
            f"--corpus {source} needs the package datasets; `pip install datasets`, or use "
            "--corpus sotu"
        ) from None
    try:
        name, config, given = _named(source)
        dataset = datasets.load_dataset(name, config, split="train", streaming=True, **given)
        for number, row in enumerate(dataset):
            if COLUMN not in row:
                raise ValueError(f"its rows have no column {COLUMN!r} but {', '.join(row)}")
            text = row[COLUMN] or ""
            if not isinstance(text, str):
                raise ValueError(f"its column {COLUMN!r} holds {type(text).__name__}, not text")
            if text := text.strip():
                yield number, text
    except (OSError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise ValueError(f"--corpus {source} could not be read ({said}); {TAKES}") from None


def _named(source: str) -> tuple[str, str | None, dict[str, str]]:
    """What datasets.load_dataset takes. Raises ValueError on a file that it cannot read."""
    name = source.removeprefix(PREFIX).removeprefix(STREAM)
    path = Path(name).absolute()
    if not source.startswith(STREAM) or not path.exists():
        name, _, config = name.partition(":")
        return name, config or None, {}
    if path.is_dir():
        return str(path), None, {}
    for suffix in reversed(path.suffixes):  # one of compression may follow
        if suffix in BUILDERS:
            builder, given = BUILDERS[suffix]
            return builder, None, {"data_files": str(path), **given}
    raise ValueError(f"a file must be of {', '.join(BUILDERS)}")
