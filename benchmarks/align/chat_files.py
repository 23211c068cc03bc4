"""Chats of the user's own, JSON Lines: instructions for `--sft`, preferences for `--preferences`.

A line of instructions has `messages`, of which each answer of the assistant is learned, or
`prompt` and `completion`; one of preferences has `prompt`, `chosen` and `rejected`. Each of these
is a string or a list of messages with `role` and `content`, written out as "role: content" a line.
Without a prompt, `chosen` and `rejected` are whole chats, and their last messages are compared.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.corpus import part_of
from benchmarks.data import cache as disk

FORM = 1  # of what is kept; another one when that changes
ASSISTANT = "assistant"
CHAT = '{"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}'
PREFERENCE = '{"prompt": "…", "chosen": "…", "rejected": "…"}'


@dataclass(frozen=True)
class Chat:
    of: str  # the line that it is of: by these names some are held out
    prompt: str
    completion: str


@dataclass(frozen=True)
class Preference:
    of: str
    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True)
class Whole:
    chats: list[Chat]
    preferences: list[Preference]


class Misshapen(ValueError):
    """A line that is no chat."""


def _written(messages: Any) -> str:
    """A line each. Raises Misshapen on what is no list of messages."""
    try:
        return "".join(f"{each['role']}: {each['content']}\n" for each in messages)
    except (TypeError, KeyError):
        raise Misshapen from None


def _prompt(said: Any) -> str:
    """What stands before an answer."""
    text = said if type(said) is str else _written(said)
    return f"user: {text}\n{ASSISTANT}: " if type(said) is str else f"{text}{ASSISTANT}: "


def _answer(said: Any) -> str:
    """A string, or the last message's content."""
    if type(said) is str:
        return said
    _written(said)
    if not said:
        raise Misshapen
    return str(said[-1]["content"])


def _chats(of: str, line: Any) -> Iterator[Chat]:
    if "messages" not in line:
        yield Chat(of, _prompt(line["prompt"]), _answer(line["completion"]))
        return
    messages = line["messages"]
    _written(messages)
    for i, message in enumerate(messages):
        if message["role"] == ASSISTANT and i:
            yield Chat(of, _prompt(messages[:i]), str(message["content"]))


def _preferences(of: str, line: Any) -> Iterator[Preference]:
    chosen, rejected = line["chosen"], line["rejected"]
    if "prompt" not in line and (type(chosen) is str or type(rejected) is str):
        raise Misshapen
    prompt = _prompt(line["prompt"] if "prompt" in line else chosen[:-1])
    yield Preference(of, prompt, _answer(chosen), _answer(rejected))


def _read(flag: str, path: str, text: bytes, of_line: Any, shape: str) -> list[Any]:
    """Raises ValueError naming the first line that is not of this shape, and where too few lines
    are to hold some out."""
    found = list[Any]()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            found += of_line(f"{Path(path).name} {number}", json.loads(line))
        except (ValueError, TypeError, KeyError):
            raise ValueError(f"{flag} {path}, line {number}, is not of the shape {shape}") from None
    if not found:
        raise ValueError(f"{flag} {path} holds no answer; a line looks like {shape}")
    if not {"train", "test"} <= {part_of(one.of) for one in found}:
        raise ValueError(
            f"{flag} {path} holds answers of {len({one.of for one in found})} lines: too few, as "
            "one in twenty is held out; give a hundred or more"
        )
    return found


def _bytes(flag: str, path: str) -> bytes:
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise ValueError(f"{flag}: cannot read {path}: {error.strerror}") from None
    if b"\\u0000" in text or b"\0" in text:
        raise ValueError(f"{flag} {path} holds a NUL character, which ends an answer; take it out")
    return text


@cache
def named(sft: tuple[str, ...], preferences: tuple[str, ...]) -> str:
    """The name of these files' chats, by which `kept` has them in any process.

    Raises ValueError if one cannot be read or is of another shape.
    """
    texts = [[_bytes("--sft", path) for path in sft]]
    texts += [[_bytes("--preferences", path) for path in preferences]]
    digest = hashlib.sha256(json.dumps([list(map(len, some)) for some in texts]).encode())
    for text in (text for some in texts for text in some):
        digest.update(text)
    name = f"{Path(sft[0]).stem}.{digest.hexdigest()[:8]}"

    def parsed() -> bytes:
        chats = [
            one
            for path, text in zip(sft, texts[0], strict=True)
            for one in _read("--sft", path, text, _chats, CHAT)
        ]
        liked = [
            one
            for path, text in zip(preferences, texts[1], strict=True)
            for one in _read("--preferences", path, text, _preferences, PREFERENCE)
        ]
        return form(Whole(chats, liked))

    disk.kept(_file(name), parsed)
    return name


def form(whole: Whole) -> bytes:
    return json.dumps(asdict(whole), ensure_ascii=False).encode()


def _file(name: str) -> str:
    return f"chats-{FORM}-{name}.json"


def kept(name: str) -> Whole:
    """Raises ValueError if they have not been named here."""

    def absent() -> bytes:
        raise ValueError(f"the chats {name} are not at hand; give --sft their files again")

    raw = json.loads(disk.kept(_file(name), absent))
    chats = [Chat(**one) for one in raw["chats"]]
    return Whole(chats, [Preference(**one) for one in raw["preferences"]])
