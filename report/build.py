"""From Records to a folder: figures with their numbers, tables, and one page that shows them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from report import peers
from report.choice import best_learning_rates
from report.compare import Comparison, comparisons, trained_setting
from report.plots import context, frontier, length
from report.plots.drawing import Drawing
from report.plots.style import Style, styles
from report.provenance import failures, parameter_match, provenance
from report.summary import by_length, markdown, summary
from report.table import tidy
from results import Record

NEEDS = {
    "frontier": "Quality against cost needs an architecture with both a quality and a cost Record.",
    "length": "Cost against length needs one train, prefill or decode Record that finished.",
    "context": "Quality against context needs one quality Record with a test evaluation.",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """What there is to say about one size on one machine."""

    title: str
    rows: pd.DataFrame
    found: list[Comparison]
    drawings: list[Drawing]
    alone: list[Drawing]  # the frontier's panels, each as its own figure
    missing: list[str]
    summary: pd.DataFrame
    by_length: list[tuple[str, pd.DataFrame]]
    match: str | None
    provenance: dict[str, str]
    failures: list[str]


def _slug(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text).strip("-.") or "unnamed"


def _section(records: Sequence[Record], suffix: str, looks: dict[str, Style]) -> Section:
    case, label = records[0].case, records[0].label
    who = f"{label}, size {case.size}"
    rows = tidy(records)
    found = comparisons(rows)
    chosen = list(best_learning_rates(records))
    figures = {
        "frontier": frontier.draw(found, looks, f"frontier{suffix}", who),
        "length": length.draw(rows, looks, f"length{suffix}", who),
        "context": context.draw(chosen, trained_setting(rows), looks, f"context{suffix}", who),
    }
    single = [
        frontier.draw([one], looks, f"quality-vs-{_slug(one.panel.name)}{suffix}", who)
        for one in found
    ]
    return Section(
        title=who,
        rows=rows,
        found=found,
        drawings=[drawing for drawing in figures.values() if drawing],
        alone=[drawing for drawing in single if drawing],
        missing=[NEEDS[name] for name, drawing in figures.items() if drawing is None],
        summary=summary(rows, found),
        by_length=by_length(rows),
        match=parameter_match(records),
        provenance=provenance(records),
        failures=failures(records),
    )


def sections(records: Sequence[Record]) -> Iterator[Section]:
    """One for each machine and size; file names carry only what tells them apart."""
    records = [record for record in records if not peers.is_peers(record)]
    looks = styles(record.case.arch for record in records)
    labels = sorted({record.label for record in records})
    for label in labels:
        sizes = sorted({r.case.size for r in records if r.label == label})
        for size in sizes:
            suffix = f"-{_slug(label)}" * (len(labels) > 1) + f"-{_slug(size)}" * (len(sizes) > 1)
            same = [r for r in records if (r.label, r.case.size) == (label, size)]
            yield _section(same, suffix, looks)


def _tables(section: Section) -> str:
    parts = [f"## {section.title}\n", markdown(section.summary)]
    for title, table in section.by_length:
        parts += [f"### {title}\n", "Columns are length × batch.\n", markdown(table)]
    return "\n".join(parts)


def _peers_tables(ratios: pd.DataFrame) -> list[str]:
    if ratios.empty:
        return []
    return [f"## {peers.TITLE}\n\n{peers.EXPLANATION}\n\n{markdown(peers.text(ratios))}"]


def write(
    records: Sequence[Record], parts: Sequence[Section], ratios: pd.DataFrame, out: Path
) -> list[Path]:
    """The figures and tables, most telling first. Raises OSError if `out` cannot be written."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [
        path
        for part in parts
        for drawing in [*part.drawings, *part.alone]
        for path in drawing.save(out)
    ]
    tables = [*map(_tables, parts), *_peers_tables(ratios)]
    (out / "table.md").write_text("\n".join(tables))
    tidy(records).to_csv(out / "table.csv", index=False)
    if len(ratios):
        ratios.to_csv(out / "peers.csv", index=False)
    return [*paths, out / "table.md", out / "table.csv"]
