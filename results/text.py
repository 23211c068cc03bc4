"""Texts that are not ours, made fit to be shown."""

import reprlib
import unicodedata

LONGEST = 80  # characters of a value in a sentence about it

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = LONGEST


def visible(text: str) -> str:
    """`text` on one line, and nothing that steers what shows it.

    Control characters, ends of lines, marks of direction and halves of a character stand there as
    Python's escapes: a terminal's colours as \\x1b[31m.
    """
    if text.isprintable():
        return text
    return "".join(
        c
        if c.isprintable() or unicodedata.category(c) == "Zs"
        else c.encode("unicode_escape").decode()
        for c in text
    )


def brief(value: object) -> str:
    """A value, as Python writes it, of which a long one has lost its middle."""
    return _SHORT.repr(value)
