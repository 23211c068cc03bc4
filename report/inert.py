"""Texts as Markdown and as cells of a spreadsheet that show them and do nothing else."""

import csv
import re
from io import StringIO
from typing import Any

import numpy as np
import pandas as pd

from results.text import visible

# ASCII that Markdown, GitHub's HTML or its mathematics could take for more than a letter
_ACTIVE = re.compile(r"[#$&<>@\[\\\]`|~]|(?<!\w)_|_(?!\w)|(?<=:)//|www(?=\.)")
# GitHub looks for @name, and for addresses, after it has read the entities
_APART = {"@": "&#64;&#8203;", "//": "/&#8203;/", "www": "www&#8203;"}
# what a spreadsheet takes for a formula, also as a full-width form
_FORMULA = re.compile(r"[=+\-@\t\r\n＝＋－＠]")
_NUMBER = re.compile(r"[+-]\d[\d,]*(\.\d+)?(e[+-]?\d+)?( ?[%A-Za-zµ]{1,3})?", re.ASCII)


def markdown(text: str) -> str:
    """`text` on one line, without links, pictures, mentions, markup and ends of a table's cell."""
    inert = _ACTIVE.sub(lambda c: _APART.get(c[0]) or f"&#{ord(c[0])};", visible(text))
    return inert.replace("*", "&#42;") if inert.count("*") > 1 else inert  # one marks nothing


def cell(value: Any) -> Any:
    """`value` for CSV. A number stays as it is; a text that begins like a formula is put behind an
    apostrophe, as OWASP has it  https://owasp.org/www-community/attacks/CSV_Injection."""
    if not isinstance(value, str):
        return value
    if _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        value = f"'{value}"
    return visible(value)


def rows(table: pd.DataFrame, alike: int = 0) -> str:
    """CSV without a head; what is not known is an empty cell.

    Rows that follow each other mostly have the first `alike` columns in common, so that those are
    written once and repeated, which changes nothing but how long it takes.
    """
    own = _lines(table.iloc[:, alike:])
    if not alike:
        return "".join(f"{line}\n" for line in own)
    first = table.iloc[:, :alike]
    new = np.ones(len(table), bool)
    new[1:] = False
    for name in first:
        values = first[name].to_numpy()
        new[1:] |= values[1:] != values[:-1]
    heads = _lines(first[new])
    which = (np.cumsum(new) - 1).tolist()
    return "".join(f"{heads[i]},{line}\n" for i, line in zip(which, own, strict=True))


def _lines(table: pd.DataFrame) -> list[str]:
    # as pandas writes it, but without its detours, which would take longest of all
    columns = [_cells(table.iloc[:, i]) for i in range(len(table.columns))]
    lines = map(",".join, zip(*columns, strict=True))
    return [line or '""' for line in lines]  # an only cell that is empty


def _cells(column: "pd.Series[Any]") -> list[str]:
    values = column.tolist()
    texts = {value: _quoted(cell(value)) for value in {v for v in values if type(v) is str}}
    known = [texts[v] if type(v) is str else str(v) for v in values]
    if not (gaps := column.isna()).any():
        return known
    return ["" if gap else text for gap, text in zip(gaps.tolist(), known, strict=True)]


def _quoted(text: str) -> str:
    written = StringIO()
    csv.writer(written, lineterminator="").writerow([text, ""])
    return written.getvalue()[:-1]


def head(table: pd.DataFrame) -> str:
    return ",".join(_quoted(cell(str(name))) for name in table.columns) + "\n"


def csv_of(table: pd.DataFrame) -> str:
    """The table with its head, without its index."""
    return head(table) + rows(table)
