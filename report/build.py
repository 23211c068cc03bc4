"""From Records to a folder: figures with their numbers, tables, and one page that shows them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from report import claims, compression, crossovers, domains, files, health, inert, life, peers
from report.attainment import frontier_table
from report.choice import Setting, common_setting
from report.claims import Evidence, Finding
from report.compare import Comparison, trained_setting
from report.crossovers import Contest, Crossovers
from report.parts import Key, Part, Whole, evidence
from report.plots import compression as plot_compression
from report.plots import context, frontier, length, tasks
from report.plots import domains as plot_domains
from report.plots.drawing import Drawing
from report.provenance import failures, parameter_match, provenance
from report.ranking import ranking
from report.roofline import contradictions
from report.sensitivity import curves
from report.sentences import sentences
from report.sources import Source, sources
from report.studies import Study
from report.summary import PanelCosts, by_length, markdown, of_tasks, panel_costs, summary
from report.table import COLUMNS, SHARED, of_metric, tidy
from results import Record

NEEDS = {
    "frontier": "Quality against cost needs an architecture with both a quality and a cost Record.",
    "length": "Cost against length needs one train, prefill or decode Record that finished.",
    "context": "Quality against context needs one quality Record with a test evaluation.",
}
REPORT = "python -m report build"
LEFT_OUT = {
    True: "the frontier's panels as figures of their own",
    False: "figures, crossings, costs by length and learning rates",
}


@dataclass(frozen=True, kw_only=True)
class Section:
    """What there is to say about one size on one machine."""

    key: Key
    title: str
    opening: bool  # whether the page opens with it
    archs: set[str]
    evidence: Evidence
    explored: pd.DataFrame  # rows for the plots to explore: all or none
    sources: dict[tuple[Any, ...], Source]  # of those rows
    found: list[Comparison]
    drawings: list[Drawing]
    alone: list[Drawing]  # the frontier's panels, each as its own figure
    missing: list[str]
    costs: list[PanelCosts]
    summary: pd.DataFrame
    frontier: pd.DataFrame
    quality: pd.DataFrame
    words: list[str]  # who leads where, what fits, what crosses
    crossings: pd.DataFrame  # of each family's best, in words
    crossovers: pd.DataFrame  # of every pair, in numbers
    of_tasks: list[tuple[str, pd.DataFrame]]
    by_length: list[tuple[str, pd.DataFrame]]
    rates_tried: list[tuple[str, pd.DataFrame]]
    raised: life.Raised | None
    match: str | None
    provenance: dict[str, str]
    failures: list[str]
    contradictions: list[str]
    disturbances: list[str]
    rows: int
    csv: str  # of its rows, without a head


def _by_domain(evidence: Evidence, trained: Setting | None) -> list[tuple[str, pd.DataFrame]]:
    found = plot_domains.numbers(evidence.chosen, trained)
    if found is None:
        return []
    title = "Test perplexity by kind of text, bits per byte in brackets, lower is better"
    return [(title, domains.table(found))]


def _coders(evidence: Evidence) -> tuple[Setting | None, list[Record]]:
    """The setting in which most compressed, and their Records."""
    setting = common_setting(of_metric(evidence.rows, "compression_rate"))
    return setting, compression.of_setting(evidence.chosen, setting) if setting else []


def _compression(evidence: Evidence) -> list[tuple[str, pd.DataFrame]]:
    _, coders = _coders(evidence)
    if not coders:
        return []
    title = "Compression of held-out text, lower bits per byte are better"
    return [(title, compression.table(coders))]


def _figures(
    evidence: Evidence,
    told: Sequence[Contest],
    shared: Whole,
    key: Key,
    who: str,
) -> tuple[dict[str, Drawing | None], list[Drawing]]:
    """All that there may be, by name, and the frontier's panels alone."""
    rows, frontiers, trained = evidence.rows, evidence.attained, trained_setting(evidence.rows)
    coded, coders = _coders(evidence)
    looks, suffix = shared.looks, shared.suffix(key)
    figures = {
        "frontier": frontier.draw(frontiers, looks, f"frontier{suffix}", who),
        "length": length.draw(rows, looks, f"length{suffix}", who, told),
        "context": context.draw(evidence.chosen, trained, looks, f"context{suffix}", who),
        "domains": plot_domains.draw(evidence.chosen, trained, looks, f"domains{suffix}", who),
        "compression": plot_compression.draw(coders, coded, looks, f"compression{suffix}", who),
        "tasks": tasks.draw(evidence.chosen, looks, f"tasks{suffix}", who),
    }
    single = [
        frontier.draw(
            [one], looks, f"quality-vs-{files.slug(one.comparison.panel.name)}{suffix}", who
        )
        for one in ([] if shared.many else frontiers)
    ]
    return figures, [drawing for drawing in single if drawing]


def _section(evidence: Evidence, key: Key, shared: Whole, usual_s: float) -> Section:
    records, rows, frontiers = evidence.records, evidence.rows, evidence.attained
    label, size = key
    who = f"{label}, size {size}"
    found = [one.comparison for one in frontiers]
    trained = trained_setting(rows)
    whole = key in shared.detailed
    crossed = crossovers.crossovers(evidence) if whole else Crossovers(contests=[], told=[])
    figures: dict[str, Drawing | None] = {}
    alone: list[Drawing] = []
    missing = [f"Left out among so many Records: {LEFT_OUT[whole]}. `{REPORT} {label}` has them."]
    if whole:
        figures, alone = _figures(evidence, crossed.told, shared, key, who)
        lacking = [sentence for name, sentence in NEEDS.items() if figures[name] is None]
        missing = lacking + missing * shared.many
    costs = list(panel_costs(rows, found))
    explored = key in shared.explored
    return Section(
        key=key,
        title=who,
        opening=key == shared.opening,
        archs={record.case.arch for record in records},
        evidence=evidence,
        explored=rows if explored else rows.iloc[:0],
        sources=sources(evidence) if explored else {},
        found=found,
        drawings=[drawing for drawing in figures.values() if drawing],
        alone=alone,
        missing=missing,
        costs=costs,
        summary=summary(rows, found, costs),
        frontier=frontier_table(frontiers),
        quality=ranking(evidence.chosen, trained),
        words=sentences(rows, crossed),
        crossings=crossovers.told_table(crossed),
        crossovers=crossovers.table(crossed),
        of_tasks=[*of_tasks(rows), *_by_domain(evidence, trained), *_compression(evidence)],
        by_length=by_length(rows) if whole else [],
        rates_tried=list(curves(records)) if whole else [],
        raised=life.raised(evidence),
        match=parameter_match(records),
        provenance=provenance(records) | health.steadiness(records, usual_s),
        failures=failures(records),
        contradictions=list(contradictions(records)),
        disturbances=health.disturbances(records, usual_s),
        rows=len(rows),
        csv=inert.rows(rows[COLUMNS], alike=len(SHARED)),
    )


def sections(own: Sequence[Part], shared: Whole) -> Iterator[Section]:
    """One for each part; all parts of a label are among them."""
    by_label: dict[str, list[Record]] = {}
    for part in own:
        by_label.setdefault(part.key[0], []).extend(part.records)
    usual_s = {label: health.usual_s(records) for label, records in by_label.items()}
    for part in own:
        yield _section(evidence(part, shared), part.key, shared, usual_s[part.key[0]])


def _tables(section: Section) -> str:
    wrong = [f"- {inert.markdown(sentence)}\n" for sentence in section.contradictions]
    parts = [f"## {inert.markdown(section.title)}\n", *wrong, markdown(section.summary)]
    if section.words:
        said = [f"- {inert.markdown(sentence)}\n" for sentence in section.words]
        parts += ["### In words\n", "".join(said)]
    sure = (
        ("The frontier", section.frontier),
        ("Quality", section.quality),
        (crossovers.TITLE, section.crossings),
    )
    for title, table in (*sure, *section.of_tasks):
        parts += [f"### {inert.markdown(title)}\n", markdown(table)] * (len(table) > 0)
    for title, table in section.by_length:
        columns = "Columns are length × batch, unless they say.\n"
        parts += [f"### {inert.markdown(title)}\n", columns, markdown(table)]
    for title, table in section.rates_tried:
        parts += [f"### Learning rates tried: {inert.markdown(title)}\n", markdown(table)]
    return "\n".join(parts)


def _study_tables(study: Study) -> str:
    parts = [f"## {inert.markdown(study.title)}\n\n{study.lead}\n"]
    return "\n".join([*parts, *(f"### {title}\n\n{markdown(t)}" for title, t in study.tables)])


def _peers_tables(ratios: pd.DataFrame) -> list[str]:
    if ratios.empty:
        return []
    return [f"## {peers.TITLE}\n\n{peers.EXPLANATION}\n\n{markdown(peers.text(ratios))}"]


def write(
    parts: Sequence[Section],
    found: Sequence[Finding],
    ratios: pd.DataFrame,
    out: Path,
    extra: Sequence[Study] = (),
) -> list[Path]:
    """The figures and tables, most telling first. Raises OSError if `out` cannot be written."""
    out.mkdir(parents=True, exist_ok=True)
    paths = [
        path
        for drawings in (
            *([*part.drawings, *part.alone] for part in parts),
            *(study.drawings for study in extra),
        )
        for drawing in drawings
        for path in drawing.save(out)
    ]
    tables = [*map(_tables, parts), *map(_study_tables, extra), *_peers_tables(ratios)]
    written = {
        "table.md": "\n".join(tables),
        "table.csv": inert.head(tidy([])) + "".join(part.csv for part in parts),
        "claims.md": claims.markdown(found),
        "claims.csv": inert.csv_of(claims.table(found)),
    }
    crossed = [part.crossovers.assign(of=part.title) for part in parts]
    if any(map(len, crossed)):
        written["crossovers.csv"] = inert.csv_of(pd.concat(crossed))
    if len(ratios):
        written["peers.csv"] = inert.csv_of(ratios)
    for name, text in written.items():
        files.write(out / name, text)
    return [*paths, out / "claims.md", out / "table.md", out / "table.csv"]
