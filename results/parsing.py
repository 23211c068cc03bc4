"""The bytes of a file → a Record, or one sentence on why they are none.

What lies under results/ may be torn, edited by hand or a stranger's. Every field has the type that
results/schema.py gives it and a value that can be: a count is no less than none, a time is some
time, a name is one line. So whoever reads Records computes with them and asks no further.
"""

import json
import types
import typing
from collections.abc import Callable
from dataclasses import is_dataclass
from functools import cache, partial
from typing import Any, Literal, NamedTuple

from results.rules import broken
from results.schema import SCHEMA, Record
from results.text import brief

LONGEST_NAME = 255  # characters: as many as a file's name has bytes
DEEPEST = 8  # lists and objects within each other, where any JSON may be
MOST = 2**63 - 1  # of a count
GREATEST = 1e39  # of a number: float32 ends before, and from here on no product overflows
SHORTEST_S, LONGEST_S = 1e-15, 1e15  # beyond lies no time
FREE = {"reason", "versions", "machine"}  # whose texts are anybody's


class Misfit(ValueError):
    """Bytes that are no Record; the message says why, in a clause."""


class Newer(Misfit):
    """Of a later version's schema."""


class Range(NamedTuple):
    low: float
    high: float


TIMED = Range(SHORTEST_S, LONGEST_S)
SOME = Range(1, MOST)
# what is in other bounds than its type and unit say
RANGES = {
    **dict.fromkeys(("step_s", "sentinel_s", "samples_s", "encode_s", "decode_s"), TIMED),
    **dict.fromkeys(
        ("seq_len", "batch", "ranks", "size", "context", "windows", "params", "load"), SOME
    ),
    **dict.fromkeys(("text_bytes", "coded_bytes", "whole_bytes", "lanes", "edges", "kept"), SOME),
    "position_edges": Range(0, MOST),
    "seed": Range(-MOST, MOST),
    "lr": Range(1e-30, 1e30),
    "flops": Range(1, 1e30),
    "work": Range(1, 1e30),
    "ideal_nats": Range(1e-9, GREATEST),
}


def parse(content: bytes) -> Record:
    """Raises Misfit, and Newer where only the schema is in the way."""
    try:
        raw = json.loads(content.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
        schema = raw.get("schema") if isinstance(raw, dict) else None
        if type(schema) is int and schema > SCHEMA:
            raise Newer(f"schema {brief(schema)}, newer than this version reads ({SCHEMA})")
        record: Record = _converter(Record, "")(raw)
    except RecursionError:
        raise Misfit("lists or objects lie in each other too deeply") from None
    except Misfit:
        raise
    except ValueError as error:  # no UTF-8, no JSON, or a number of thousands of digits
        raise Misfit(f"{error}") from None
    if (why := broken(record)) is not None:
        raise Misfit(why)
    return record


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise Misfit(f"{brief(twice)} is there twice")
    return made


def _no_constant(name: str) -> None:
    raise Misfit(f"{name} is no number")


Converter = Callable[[Any], Any]


@cache  # annotations are resolved once for each field, not once for each Record
def _converter(kind: Any, name: str) -> Converter:
    """From a value, as JSON has it, to the annotated type of a field of that name; it raises
    Misfit where that cannot be."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):  # of a Literal it is the latter
        if types.NoneType not in args:
            return partial(_number, tuple(args), _range(kind, name))
        given = _converter(next(arg for arg in args if arg is not types.NoneType), name)
        return lambda value: None if value is None else given(value)
    if origin is Literal:
        return partial(_one_of, args)
    if origin is tuple:
        return partial(_tuple, args[0], _range(args[0], name), _converter(args[0], name))
    if origin is list:
        return partial(_list, _converter(args[0], name))
    if origin is dict:
        return partial(_mapping, _converter(args[1], name))
    if is_dataclass(kind) or typing.is_typeddict(kind):
        hints = typing.get_type_hints(kind)
        return partial(_instance, kind, {n: _converter(hint, n) for n, hint in hints.items()})
    if kind is Any:
        return partial(_any, 0)
    if kind is bool:
        return _bool
    if kind is str:
        return _text if name in FREE else _name
    return partial(_number, (kind,), _range(kind, name))


def _range(kind: Any, name: str) -> Range:
    if name in RANGES:
        return RANGES[name]
    if name.endswith("_s"):
        return Range(0, LONGEST_S)
    return Range(0, MOST) if kind is int else Range(-GREATEST, GREATEST)


def _one_of(choices: tuple[Any, ...], value: Any) -> Any:
    if type(value) is not str or value not in choices:
        raise Misfit(f"{brief(value)} is none of {', '.join(map(repr, choices))}")
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise Misfit(f"{brief(value)} is not bool")
    return value


def _number(kinds: tuple[type, ...], within: Range, value: Any) -> Any:
    if type(value) not in kinds and not (type(value) is int and float in kinds):
        raise Misfit(f"{brief(value)} is not {kinds[0].__name__}")
    if not within.low <= value <= within.high:
        raise Misfit(f"{brief(value)} is not from {within.low:g} to {within.high:g}")
    return value if type(value) in kinds else float(value)


def _text(value: Any) -> str:
    if type(value) is not str:
        raise Misfit(f"{brief(value)} is not str")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Misfit(f"{brief(value)} holds half a character") from None
    return value


def _name(value: Any) -> str:
    if len(_text(value)) > LONGEST_NAME:
        raise Misfit(f"{brief(value)} has {len(value):,} characters, of {LONGEST_NAME} at most")
    if not value.isprintable():
        raise Misfit(f"{brief(value)} holds a character that cannot be printed")
    return str(value)


def _any(depth: int, value: Any) -> Any:
    """Any JSON, as it is."""
    if isinstance(value, list | dict):
        if depth == DEEPEST:
            raise Misfit("lists or objects lie in each other too deeply")
        within = partial(_any, depth + 1)
        return list(map(within, value)) if isinstance(value, list) else _mapping(within, value)
    if isinstance(value, str):
        return _text(value)
    if type(value) in (int, float):
        return _number((int, float), Range(-GREATEST, GREATEST), value)
    return value


def _list(item: Converter, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise Misfit(f"{brief(value)} is not a list")
    return list(map(item, value))


def _tuple(kind: Any, within: Range, item: Converter, value: Any) -> tuple[Any, ...]:
    # most of a Record is thousands of plain numbers: one look at all of them
    plain = kind in (int, float) and isinstance(value, list) and set(map(type, value)) == {kind}
    if plain and within.low <= min(value) and max(value) <= within.high:
        return tuple(value)
    return tuple(_list(item, value))


def _mapping(item: Converter, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Misfit(f"{brief(value)} is not an object")
    return {_name(key): _told(key, item, one) for key, one in value.items()}


def _instance(kind: Any, converters: dict[str, Converter], value: Any) -> Any:
    if not isinstance(value, dict):
        raise Misfit(f"{brief(value)} is not an object")
    if unknown := value.keys() - converters.keys():
        raise Misfit(f"unknown field {brief(min(unknown))}")
    if typing.is_typeddict(kind) and (missing := converters.keys() - value.keys()):
        raise Misfit(f"{brief(min(missing))} is missing")
    given = {name: _told(name, converters[name], item) for name, item in value.items()}
    try:
        return kind(**given)
    except TypeError as error:  # a field without a default is missing
        raise Misfit(f"{error}") from None


def _told(name: str, convert: Converter, value: Any) -> Any:
    """Converted; what is wrong with it is told with the name."""
    try:
        return convert(value)
    except Misfit as error:
        raise Misfit(f"{name}: {error}") from None
