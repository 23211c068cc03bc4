"""The bytes of a file → a Record, or one sentence on why they are none.

What lies under results/ may be torn, edited by hand or a stranger's. msgspec holds every field to
the type that results/schema.py gives it, results/bounds.py to what a value can be, results/rules.py
to what the fields owe each other. So whoever reads Records computes with them and asks no further.
Of a name that an object has twice the last one counts.
"""

import msgspec

from results.bounds import Misfit, check
from results.rules import broken
from results.schema import SCHEMA, Record
from results.text import visible

LONGEST = 300  # characters of what is wrong


class Newer(Misfit):
    """Of a later version's schema."""


class _Dated(msgspec.Struct):
    """All that a Record of another schema is asked."""

    schema: int = SCHEMA


_record = msgspec.json.Decoder(Record)
_dated = msgspec.json.Decoder(_Dated)
WRONG = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def parse(content: bytes) -> Record:
    """Raises Misfit, and Newer where only the schema is in the way."""
    try:
        record = _record.decode(content)
    except WRONG as error:
        if (schema := _schema(content)) > SCHEMA:
            raise _newer(schema) from None
        raise Misfit(_cut(f"{error}")) from None
    if record.schema > SCHEMA:
        raise _newer(record.schema)
    check(record)
    if (why := broken(record)) is not None:
        raise Misfit(why)
    return record


def _cut(said: str) -> str:
    """What msgspec says has the value at its beginning, and where it stands at its end."""
    if len(said) > LONGEST:
        said = f"{said[: LONGEST // 2]}…{said[-LONGEST // 2 :]}"
    return visible(said)


def _schema(content: bytes) -> int:
    """What the file says, of whatever else there is in it; this version's if it says nothing."""
    try:
        return _dated.decode(content).schema
    except WRONG:
        return SCHEMA


def _newer(schema: int) -> Newer:
    return Newer(_cut(f"schema {schema}, newer than this version reads ({SCHEMA})"))
