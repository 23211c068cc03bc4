"""Quality by the kind of text, in disjoint windows and in overlapping ones."""

from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from report.choice import Chosen, Setting, run_in
from report.losses import bits_per_byte, perplexity
from report.units import show
from results import Evaluation, Record

ALL = "all text"


def held_out(record: Record) -> Iterator[tuple[str, Evaluation]]:
    """Every test evaluation at the trained length, by the kind of text."""
    length = record.case.seq_len
    found = [*record.evaluations, *record.by_domain]
    found += [record.sliding] if record.sliding is not None else []
    for test in found:
        if (test.split, test.context) == ("test", length):
            yield test.domain or ALL, test


def rows(chosen: Iterable[Chosen], setting: Setting) -> pd.DataFrame:
    """A row for each architecture, kind of text and way of cutting it; mean, lowest, highest."""
    found: list[dict[str, Any]] = []
    for record in run_in((pick.record for pick in chosen), setting):
        who = {"label": record.label, "size": record.case.size, "arch": record.case.arch}
        for domain, test in held_out(record) if record.status == "ok" else ():
            bits, loss = bits_per_byte(test), perplexity(test)
            if bits is not None and loss is not None:
                windows = "disjoint" if test.stride is None else "sliding"
                told = {"domain": domain, "windows": windows, "bits": bits, "perplexity": loss}
                found.append(who | told)
    if not found:
        return pd.DataFrame()
    keys = ["label", "size", "arch", "domain", "windows"]
    return (
        pd.DataFrame(found)
        .groupby(keys, as_index=False)
        .agg(
            bits_per_byte=("bits", "mean"),
            low=("bits", "min"),
            high=("bits", "max"),
            perplexity=("perplexity", "mean"),
            seeds=("bits", "count"),
        )
    )


def table(data: pd.DataFrame) -> pd.DataFrame:
    """Perplexity, and bits per byte in brackets: a line for each architecture."""
    columns: dict[str, list[str]] = {"architecture": sorted(set(data["arch"]))}
    for (domain, windows), column in data.groupby(["domain", "windows"]):
        cells = {
            row["arch"]: f"{show(row['perplexity'], 'perplexity')} "
            f"({show(row['bits_per_byte'], 'bits/byte')})"
            for row in column.to_dict("records")
        }
        heading = f"{domain}, {windows} windows"
        columns[heading] = [cells.get(name, "–") for name in columns["architecture"]]
    return pd.DataFrame(columns)
