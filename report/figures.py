"""`python -m report figures`: quality against cost, and cost over length, for a paper.

PNG, SVG and PDF at the width of a column, and captions.md with what each figure shows. The same
Records give the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from report import files
from report.claims import Evidence
from report.crossovers import crossovers
from report.inert import markdown
from report.parts import readings
from report.plots import columns, frontier, length
from report.plots.columns import Column
from report.plots.drawing import save
from report.plots.style import Style, in_print
from report.plots.words import absent, listed, quality_setting
from results import Record

KINDS = ("pdf", "svg", "png")
DPI = 300


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A figure at its printed size, and what a caption says of it."""

    stem: str
    caption: str
    figure: Figure


def _of_quality(
    evidence: Evidence, styles: dict[str, Style], column: Column, suffix: str, who: str
) -> Iterator[Printed]:
    """The lead figure: all costs on one page, or a figure for each."""
    found = evidence.attained
    groups = [found] if column == "double" and found else [[one] for one in found]
    for group in groups:
        shown = [one.comparison for one in group]
        name = "frontier" if column == "double" else f"quality-vs-{files.slug(shown[0].panel.name)}"
        seeds = pd.concat([comparison.points["seeds"] for comparison in shown])
        missing = [
            f"{comparison.panel.name.capitalize()}, {reasons}."
            for comparison in shown
            if (reasons := absent(comparison.absent))
        ]
        band = frontier.BANDS[min(one.seeds for one in group) < 2]
        sentences = [frontier.CAPTION.strip(), band, *missing, columns.FAMILIES]
        yield Printed(
            stem=f"{name}{suffix}",
            caption=(
                f"Quality against {listed([comparison.panel.name for comparison in shown])} "
                f"({who}): {quality_setting(shown[0].quality, seeds)}. {' '.join(sentences)}"
            ),
            figure=columns.figure(
                [columns.of_frontier(one, styles) for one in group], column, [], styles
            ),
        )


def _of_length(
    evidence: Evidence, styles: dict[str, Style], column: Column, suffix: str, who: str
) -> Iterator[Printed]:
    told = crossovers(evidence).told
    crossed = any(one.crossings for one in told)
    panels = columns.of_lengths(evidence, told, styles)
    groups = [panels] if column == "double" and panels else [[one] for one in panels]
    names = sorted({record.case.arch for record in evidence.records})
    for group in groups:
        name = "length" if column == "double" else f"length-{files.slug(group[0][0].lower())}"
        what = listed([name[0].lower() + name[1:] for name, _ in group])
        yield Printed(
            stem=f"{name}{suffix}",
            caption=(
                f"Cost against sequence length ({who}): {what}. "
                f"{length.CAPTION}{length.CROSSING_CAPTION * crossed} {columns.FAMILIES}"
            ),
            figure=columns.figure([panel for _, panel in group], column, names, styles),
        )


def printed(records: Sequence[Record], column: Column) -> Iterator[Printed]:
    """The figures of every machine and size."""
    every = readings(records)
    styles = columns.looks([evidence for evidence, _ in every])
    for evidence, suffix in every:
        first = evidence.records[0]
        who = f"{first.label}, size {first.case.size}"
        for draw in (_of_quality, _of_length):
            yield from draw(evidence, styles, column, suffix, who)


@in_print
def write(found: Sequence[Printed], out: Path) -> list[Path]:
    """Raises OSError if `out` cannot be written."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [save(one.figure, out / f"{one.stem}.{kind}", DPI) for one in found for kind in KINDS]
    captions = [f"**{markdown(one.stem)}.** {markdown(one.caption)}\n" for one in found]
    return [*paths, files.write(out / "captions.md", "\n".join(captions))]
