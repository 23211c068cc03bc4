"""Text streamed from the Hugging Face hub, through the optional package `datasets`.

A dataset there can change, and only its first part is read; the SHA-256 of what was read is in the
corpus's name, so that other text never meets this one's Records.
"""

import hashlib
import importlib
import json
import sys
from functools import partial
from typing import Any

from benchmarks.data import cache

PREFIX = "hf:"
BYTES = 2**26  # of text, about as much as the largest pinned corpus; or all, where there is less
COLUMN = "text"


def documents(source: str) -> dict[str, str]:
    """Of `hf:NAME` or `hf:NAME:CONFIG`, the first rows of the train split, by their number.

    Raises ValueError if `datasets` is missing, the hub out of reach, or the dataset not text.
    """
    name = f"hf-{hashlib.sha256(source.encode()).hexdigest()[:16]}.json"
    return dict(json.loads(cache.kept(name, partial(_streamed, source))))


def _streamed(source: str) -> bytes:
    name, _, config = source.removeprefix(PREFIX).partition(":")
    try:
        datasets: Any = importlib.import_module("datasets")
    except ModuleNotFoundError:
        raise ValueError(
            f"--corpus {source} needs the package datasets; `pip install datasets`, or use "
            "--corpus sotu"
        ) from None
    print(f"streaming {source}, this once, for {cache.folder()}", file=sys.stderr)
    try:
        rows = datasets.load_dataset(name, config or None, split="train", streaming=True)
        texts, size = dict[str, str](), 0
        for number, row in enumerate(rows):
            if COLUMN not in row:
                raise ValueError(f"its rows have no column {COLUMN!r} but {', '.join(row)}")
            if text := row[COLUMN].strip():
                texts[str(number)] = text
                size += len(text.encode())
            if size >= BYTES:
                break
    except (OSError, ValueError) as error:
        said = str(error).partition("\n")[0]
        raise ValueError(
            f"--corpus {source} could not be read ({said}); it takes a text dataset's name, such "
            "as hf:Salesforce/wikitext:wikitext-103-raw-v1, and a network that reaches the hub"
        ) from None
    return json.dumps(texts, ensure_ascii=False, indent=0).encode()
