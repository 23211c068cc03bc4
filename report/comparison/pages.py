"""A comparison in the terminal, in Markdown, as one HTML page and as JSON."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from report import files
from report.comparison.gate import Verdict
from report.comparison.ratios import GroupRatio, Pair
from report.comparison.words import EXPLANATION, Part, gate, part
from report.inert import markdown as inert
from report.page import template
from report.summary import markdown as markdown_table

TITLE = "One measurement against another"
CELLS_ON_A_PAGE = 500  # of each quantity; all are in the JSON


def markdown(pairs: Sequence[Pair], verdicts: Iterable[Verdict]) -> str:
    lines = [f"## {TITLE}", "", EXPLANATION, ""]
    lines += [f"- {inert(sentence)}" for sentence in gate(verdicts)]
    for each in map(part, pairs):
        lines += ["", f"### {inert(each.title)}", ""]
        lines += [f"- {inert(sentence)}" for sentence in each.sentences]
        for heading, table in each.tables:
            lines += ["", f"**{heading}**", "", markdown_table(table).rstrip("\n")]
    return "\n".join(lines) + "\n"


def html(pairs: Sequence[Pair], verdicts: Iterable[Verdict]) -> str:
    parts = [part(pair, CELLS_ON_A_PAGE) for pair in pairs]
    return template("comparison.html.j2").render(
        title=TITLE, explanation=EXPLANATION, gate=gate(verdicts), parts=parts
    )


def _table(heading: str, table: pd.DataFrame) -> Table:
    shown = Table(
        title=Text(heading, style="bold", no_wrap=True, overflow="ellipsis"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for i, name in enumerate(table.columns):
        broken = Text(str(name).replace(" ", "\n"))
        shown.add_column(broken, justify="right" if i else "left", overflow="fold")
    for line in table.itertuples(index=False):
        shown.add_row(*map(Text, line))
    return shown


def _terminal_part(each: Part) -> list[Text | Table]:
    sentences = [Text(sentence) for sentence in each.sentences]
    tables = [_table(*table) for table in each.tables]
    return [Text(f"\n{each.title}", style="bold"), *sentences, Text(), *tables]


def terminal(pairs: Sequence[Pair], verdicts: Iterable[Verdict]) -> Group:
    parts = [line for pair in pairs for line in _terminal_part(part(pair))]
    return Group(Text(EXPLANATION), *parts, *map(Text, gate(verdicts)))


def _group(group: GroupRatio) -> dict[str, Any]:
    steadied = None if group.steadied is None else asdict(group.steadied.estimate)
    return {
        "of": group.name,
        "cells": group.cells,
        "ratio": group.mean,
        "interval": None if group.interval is None else asdict(group.interval),
        "steadied": steadied,
        "over_ceiling": group.of_ceiling,
        "sentinel_speed": group.sentinel,
    }


def as_json(pairs: Sequence[Pair], verdicts: Iterable[Verdict]) -> str:
    """Every number, names as they are. Raises ValueError on one that is none."""
    whole = {
        "pairs": [
            {
                "baseline": pair.baseline.name,
                "other": pair.other.name,
                "ratios": [
                    {
                        "quantity": ratios.quantity.name,
                        "better": ratios.quantity.better,
                        "groups": [_group(group) for group in ratios.groups],
                        "cells": [asdict(cell) for cell in ratios.cells],
                    }
                    for ratios in pair.ratios
                ],
                "differences": pair.differences,
                "only_in_baseline": pair.alone[0],
                "only_in_other": pair.alone[1],
                "failed": pair.failed,
            }
            for pair in pairs
        ],
        "gate": [
            {
                "condition": str(verdict.condition),
                "other": verdict.pair.other.name,
                "of": verdict.group.name,
                "ratio": verdict.value,
                "bound": verdict.bound,
                "fires": verdict.fires,
            }
            for verdict in verdicts
        ],
    }
    return json.dumps(whole, indent=1, allow_nan=False) + "\n"


def write(pages: dict[str, str], out: Path) -> list[Path]:
    """Each file of `pages` whole or not at all. Raises OSError if `out` cannot be written."""
    out.mkdir(parents=True, exist_ok=True)
    return [files.write(out / name, text) for name, text in pages.items()]
