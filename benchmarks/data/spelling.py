"""A checkpoint's own tokenizer: its `tokenizer.json`, through the library tokenizers.

Losses of different tokenizers meet in bits per byte, so each token has to say how many bytes it
spells; text that a tokenizer changes before it cuts it up is refused.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.data import vocabulary
from benchmarks.data.vocabulary import Encode, Tokenizer

FILE = "tokenizer.json"


def name_of(folder: Path) -> str:
    """By its content, so that checkpoints which share one share its name."""
    path = folder / FILE
    if not path.exists():
        return f"no {FILE}"
    return f"hf.{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}"


def library_tokenizer(folder: Path) -> Any:
    """The library's. Raises ValueError if the folder has none, or the library is missing."""
    path = folder / FILE
    if not path.exists():
        raise ValueError(
            f"{folder} holds no {FILE}, without which it reads no text; save the tokenizer beside "
            "the weights with transformers' save_pretrained"
        )
    tokenizer = vocabulary.tokenizers(str(path)).Tokenizer.from_str(path.read_bytes().decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def load(folder: Path) -> tuple[Tokenizer, Encode]:
    """What text is read and told in. Raises ValueError like `library_tokenizer`."""
    tokenizer, path = library_tokenizer(folder), folder / FILE
    definition = path.read_bytes()
    token_bytes = spelled(json.loads(definition), tokenizer)

    def encode(part: bytes) -> Tensor:
        text = vocabulary.written(part)
        ids = torch.tensor(tokenizer.encode(text, add_special_tokens=False).ids, dtype=torch.int32)
        # some put a space before a text
        more = int(token_bytes[ids.long()].sum()) - len(text.encode())
        if more not in (0, 1):
            raise ValueError(
                f"{path} changes the text: its tokens spell {more:+,} bytes of {len(text):,}, so "
                "bits per byte cannot be told"
            )
        return ids

    sha256 = hashlib.sha256(definition).hexdigest()
    return Tokenizer(name_of(folder), sha256, token_bytes, encode), encode


def spelled(definition: dict[str, Any], tokenizer: Any) -> Tensor:
    """How many bytes each token spells, as bytes written one character each, or as text in which a
    space is ▁ and a byte that is no character of its own <0xNN>."""
    in_bytes = '"ByteLevel"' in json.dumps(definition["decoder"])
    literal = {token["content"] for token in definition["added_tokens"]}
    ids = tokenizer.get_vocab(with_added_tokens=True)
    token_bytes = torch.zeros(1 + max(ids.values()), dtype=torch.int64)
    for token, place in ids.items():
        if in_bytes and token not in literal:
            token_bytes[place] = len(token)
        else:
            text = re.sub("<0x[0-9A-F]{2}>", "?", token).replace("▁", " ")
            token_bytes[place] = len(text.encode())
    return token_bytes
