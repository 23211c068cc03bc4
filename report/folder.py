"""A report as a folder: figures, tables and the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from report import files
from report.build import write
from report.life import lives
from report.page import render
from report.peers import is_peers, ratios
from report.plots.style import styles
from report.processes import Told, tell
from report.studies import studies


@dataclass(frozen=True, kw_only=True)
class Built:
    told: Told
    peers: pd.DataFrame
    paths: list[Path]  # most telling first, the page last


def build(labels: Sequence[str] | None, root: Path, out: Path) -> Built:
    """Nothing is written where there is no Record.

    Raises NoSuchLabel, and OSError if `out` cannot be written.
    """
    told = tell(labels, root, out)
    pairs = ratios(told.others)
    if not told.records:
        return Built(told=told, peers=pairs, paths=[])
    archs = {record.case.arch for record in told.others if not is_peers(record)}
    looks = styles(archs.union(*(part.archs for part in told.parts)))
    extra = studies(told.others, looks)
    extra += lives(((part.key, part.raised) for part in told.parts), told.others)
    paths = write(told.parts, told.found, pairs, out, extra)
    html = render(told.parts, told.found, pairs, told.unreadable, out, extra)
    page = files.write(out / "index.html", html)
    return Built(told=told, peers=pairs, paths=[*paths, page])
