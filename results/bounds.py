"""What a value of a Record can be: a count none or more, a time some time, a name one line.

Bounds go by the field's name, as units do.
"""

import types
import typing
from collections.abc import Callable, Iterable
from functools import cache, partial
from typing import Any, NamedTuple

import msgspec

from results.text import brief

LONGEST_NAME = 255  # characters: as many as a file's name has bytes
DEEPEST = 8  # lists and objects within each other, where any JSON may be
MOST = 2**63 - 1  # of a count
GREATEST = 1e39  # of a number: float32 ends before, and from here on no product overflows
SHORTEST_S, LONGEST_S = 1e-15, 1e15  # beyond lies no time
FREE = {"reason", "versions", "machine"}  # whose texts are anybody's


class Misfit(ValueError):
    """Bytes that are no Record; the message says why, in a clause."""


class Range(NamedTuple):
    low: float
    high: float


TIMED = Range(SHORTEST_S, LONGEST_S)
SOME = Range(1, MOST)
# what is in other bounds than its type and unit say
RANGES = {
    **dict.fromkeys(("step_s", "sentinel_s", "samples_s", "encode_s", "decode_s"), TIMED),
    **dict.fromkeys(("seq_len", "batch", "ranks", "size", "context", "windows"), SOME),
    **dict.fromkeys(("params", "load", "text_bytes", "coded_bytes", "whole_bytes"), SOME),
    **dict.fromkeys(("lanes", "edges", "kept", "prompts", "answer_tokens"), SOME),
    **dict.fromkeys(("length", "gaps", "sections", "fitted", "asked"), SOME),
    "masked": Range(1e-9, 1),
    "seed": Range(-MOST, MOST),
    "lr": Range(1e-30, 1e30),
    "flops": Range(1, 1e30),
    "work": Range(1, 1e30),
    "ideal_nats": Range(1e-9, GREATEST),
}
Check = Callable[[Any], None]


def check(part: Any) -> None:
    """Of a Record, or a part of it, whose types are right. Raises Misfit, naming the field."""
    kind: Any = type(part)
    name, plan = "", _plan(kind)
    try:
        # most are numbers, names, and what is empty: those without a call
        for name, within in plan.numbers:
            value = getattr(part, name)
            if value is not None and not within[0] <= value <= within[1]:
                _number(within, value)
        for name in plan.names:
            value = getattr(part, name)
            if value and (len(value) > LONGEST_NAME or not value.isprintable()):
                _name(value)
        for name, test in plan.others:
            if value := getattr(part, name):
                test(value)
    except Misfit as error:
        raise Misfit(f"{name}: {error}") from None


class Plan(NamedTuple):
    """The fields whose type leaves something to ask."""

    numbers: list[tuple[str, Range]]
    names: list[str]
    others: list[tuple[str, Check]]


@cache
def _plan(kind: Any) -> Plan:
    plan = Plan([], [], [])
    for name, hint in typing.get_type_hints(kind).items():
        test = _check(hint, name)
        if test is _name:
            plan.names.append(name)
        elif isinstance(test, partial) and test.func is _number:
            plan.numbers.append((name, test.args[0]))
        elif test is not None:
            plan.others.append((name, test))
    return plan


def _check(hint: Any, name: str) -> Check | None:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _check(next(arg for arg in args if arg is not types.NoneType), name)
    if origin is tuple or origin is list:
        if args[0] in (int, float):
            return partial(_numbers, _range(args[0], name))
        test = _check(args[0], name)
        return test and partial(_each, test)
    if origin is dict:
        return _unless_seen(partial(_mapping, _check(args[1], name)))
    if typing.is_typeddict(hint):
        asked = {n: _check(h, n) for n, h in typing.get_type_hints(hint).items()}
        return partial(_fields, asked)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return check
    if hint is Any:
        return partial(_any, 0)
    if hint is str:
        return _text if name in FREE else _name
    return partial(_number, _range(hint, name)) if hint in (int, float) else None


def _range(kind: type, name: str) -> Range:
    if name in RANGES:
        return RANGES[name]
    if name.endswith("_s"):
        return Range(0, LONGEST_S)
    return Range(0, MOST) if kind is int else Range(-GREATEST, GREATEST)


def _number(within: Range, value: float) -> None:
    if not within.low <= value <= within.high:
        raise Misfit(f"{brief(value)} is not from {within.low:g} to {within.high:g}")


def _numbers(within: Range, values: tuple[float, ...]) -> None:
    if values and not (within.low <= min(values) and max(values) <= within.high):
        for value in values:
            _number(within, value)


def _each(test: Check, values: Iterable[Any]) -> None:
    for value in values:
        test(value)


def _unless_seen(test: Check) -> Check:
    """`test`, but not again for what was right in the file before: machines and versions recur."""
    seen: Any = None

    def asked(value: Any) -> None:
        nonlocal seen
        if value != seen:
            test(value)
            seen = value

    return asked


def _mapping(test: Check | None, value: dict[str, Any]) -> None:
    for key in value:
        if len(key) > LONGEST_NAME or not key.isprintable():
            _name(key)
    if test is not None:
        _fields(dict.fromkeys(value, test), value)


def _fields(asked: dict[str, Check | None], value: dict[str, Any]) -> None:
    name = ""
    try:
        for name, test in asked.items():
            if test is not None:
                test(value[name])
    except Misfit as error:
        raise Misfit(f"{name}: {error}") from None


def _text(value: str) -> None:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Misfit(f"{brief(value)} holds half a character") from None


def _name(value: str) -> None:
    if len(value) > LONGEST_NAME:
        raise Misfit(f"{brief(value)} has {len(value):,} characters, of {LONGEST_NAME} at most")
    if not value.isprintable():
        raise Misfit(f"{brief(value)} holds a character that cannot be printed")


def _any(depth: int, value: Any) -> None:
    """Any JSON."""
    kind = type(value)
    if kind is str:
        _text(value)
    elif kind is int or kind is float:
        if not -GREATEST <= value <= GREATEST:
            _number(Range(-GREATEST, GREATEST), value)
    elif kind is list or kind is dict:
        if depth == DEEPEST:
            raise Misfit("lists or objects lie in each other too deeply")
        within = partial(_any, depth + 1)
        if kind is dict:
            _mapping(within, value)
        else:
            _each(within, value)
