"""From Records to a folder: figures with their numbers, tables, and one page that shows them."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from report import claims, compression, crossovers, domains, health, peers
from report.attainment import attained, frontier_table, reference
from report.choice import Setting, best_learning_rates, common_setting
from report.claims import Evidence, Finding
from report.compare import Comparison, comparisons, trained_setting
from report.crossovers import Contest
from report.plots import compression as plot_compression
from report.plots import context, frontier, length, tasks
from report.plots import domains as plot_domains
from report.plots.drawing import Drawing
from report.plots.style import Style, styles
from report.provenance import failures, parameter_match, provenance
from report.ranking import ranking
from report.roofline import contradictions
from report.sensitivity import curves
from report.sentences import sentences
from report.studies import Study, is_study
from report.summary import by_length, markdown, of_tasks, summary
from report.table import of_metric, tidy
from results import Record

NEEDS = {
    "frontier": "Quality against cost needs an architecture with both a quality and a cost Record.",
    "length": "Cost against length needs one train, prefill or decode Record that finished.",
    "context": "Quality against context needs one quality Record with a test evaluation.",
}
MANY = 20_000  # Records, beyond which figures would take longer than all else
DRAWN = 2  # sections that then have figures


@dataclass(frozen=True, kw_only=True)
class Section:
    """What there is to say about one size on one machine."""

    title: str
    evidence: Evidence
    rows: pd.DataFrame
    found: list[Comparison]
    drawings: list[Drawing]
    alone: list[Drawing]  # the frontier's panels, each as its own figure
    missing: list[str]
    summary: pd.DataFrame
    frontier: pd.DataFrame
    quality: pd.DataFrame
    words: list[str]  # who leads where, what fits, what crosses
    crossings: pd.DataFrame  # of each family's best, in words
    crossovers: pd.DataFrame  # of every pair, in numbers
    of_tasks: list[tuple[str, pd.DataFrame]]
    by_length: list[tuple[str, pd.DataFrame]]
    rates_tried: list[tuple[str, pd.DataFrame]]
    match: str | None
    provenance: dict[str, str]
    failures: list[str]
    contradictions: list[str]
    disturbances: list[str]


def slug(text: str) -> str:
    return re.sub(r"[^\w.]+", "-", text).strip("-.") or "unnamed"


def _evidence(parts: Sequence[Sequence[Record]]) -> list[Evidence]:
    """The reading of each part. What a panel's hypervolumes are measured from is the same for all
    parts, so that they can be compared."""
    tables = [tidy(records) for records in parts]
    found = [comparisons(rows) for rows in tables]
    panels = {one.panel.name for some in found for one in some}
    worst = {
        panel: reference([one for some in found for one in some if one.panel.name == panel])
        for panel in panels
    }
    every = []
    for records, rows, compared in zip(parts, tables, found, strict=True):
        chosen = list(best_learning_rates(records))
        frontiers = [attained(one, records, chosen, worst[one.panel.name]) for one in compared]
        every.append(Evidence(records=list(records), rows=rows, chosen=chosen, attained=frontiers))
    return every


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
    suffix: str,
    looks: dict[str, Style],
    who: str,
) -> tuple[dict[str, Drawing | None], list[Drawing]]:
    """All that there may be, by name, and the frontier's panels alone."""
    rows, frontiers, trained = evidence.rows, evidence.attained, trained_setting(evidence.rows)
    coded, coders = _coders(evidence)
    figures = {
        "frontier": frontier.draw(frontiers, looks, f"frontier{suffix}", who),
        "length": length.draw(rows, looks, f"length{suffix}", who, told),
        "context": context.draw(evidence.chosen, trained, looks, f"context{suffix}", who),
        "domains": plot_domains.draw(evidence.chosen, trained, looks, f"domains{suffix}", who),
        "compression": plot_compression.draw(coders, coded, looks, f"compression{suffix}", who),
        "tasks": tasks.draw(evidence.chosen, looks, f"tasks{suffix}", who),
    }
    single = [
        frontier.draw([one], looks, f"quality-vs-{slug(one.comparison.panel.name)}{suffix}", who)
        for one in frontiers
    ]
    return figures, [drawing for drawing in single if drawing]


def _section(
    evidence: Evidence, suffix: str, looks: dict[str, Style], usual_s: float, drawn: bool
) -> Section:
    records, rows, frontiers = evidence.records, evidence.rows, evidence.attained
    case, label = records[0].case, records[0].label
    who = f"{label}, size {case.size}"
    found = [one.comparison for one in frontiers]
    trained = trained_setting(rows)
    crossed = crossovers.crossovers(evidence)
    figures: dict[str, Drawing | None] = {}
    alone: list[Drawing] = []
    missing = [f"Not drawn among so many Records; `python -m report build {label}` draws it."]
    if drawn:
        figures, alone = _figures(evidence, crossed.told, suffix, looks, who)
        missing = [sentence for name, sentence in NEEDS.items() if figures[name] is None]
    return Section(
        title=who,
        evidence=evidence,
        rows=rows,
        found=found,
        drawings=[drawing for drawing in figures.values() if drawing],
        alone=alone,
        missing=missing,
        summary=summary(rows, found),
        frontier=frontier_table(frontiers),
        quality=ranking(evidence.chosen, trained),
        words=sentences(rows, crossed),
        crossings=crossovers.told_table(crossed),
        crossovers=crossovers.table(crossed),
        of_tasks=[*of_tasks(rows), *_by_domain(evidence, trained), *_compression(evidence)],
        by_length=by_length(rows),
        rates_tried=list(curves(records)),
        match=parameter_match(records),
        provenance=provenance(records) | health.steadiness(records, usual_s),
        failures=failures(records),
        contradictions=list(contradictions(records)),
        disturbances=health.disturbances(records, usual_s),
    )


def readings(records: Sequence[Record]) -> list[tuple[Evidence, str]]:
    """One for each machine and size, and what its files' names end in: only what tells them
    apart."""
    records = [r for r in records if not peers.is_peers(r) and not is_study(r)]
    parts: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        parts.setdefault((record.label, record.case.size), []).append(record)
    order = sorted(parts)
    sizes = Counter(label for label, _ in order)
    suffixes = [
        f"-{slug(label)}" * (len(sizes) > 1) + f"-{slug(size)}" * (sizes[label] > 1)
        for label, size in order
    ]
    return list(zip(_evidence([parts[key] for key in order]), suffixes, strict=True))


def sections(records: Sequence[Record]) -> Iterator[Section]:
    """One for each machine and size."""
    every = readings(records)
    looks = styles(record.case.arch for evidence, _ in every for record in evidence.records)
    by_label: dict[str, list[Record]] = {}
    for evidence, _ in every:
        by_label.setdefault(evidence.records[0].label, []).extend(evidence.records)
    usual_s = {label: health.usual_s(own) for label, own in by_label.items()}
    for i, (evidence, suffix) in enumerate(every):
        drawn = i < DRAWN or len(records) <= MANY
        yield _section(evidence, suffix, looks, usual_s[evidence.records[0].label], drawn)


def _tables(section: Section) -> str:
    wrong = [f"- {sentence}\n" for sentence in section.contradictions]
    parts = [f"## {section.title}\n", *wrong, markdown(section.summary)]
    if section.words:
        parts += ["### In words\n", "".join(f"- {sentence}\n" for sentence in section.words)]
    sure = (
        ("The frontier", section.frontier),
        ("Quality", section.quality),
        (crossovers.TITLE, section.crossings),
    )
    for title, table in (*sure, *section.of_tasks):
        parts += [f"### {title}\n", markdown(table)] * (len(table) > 0)
    for title, table in section.by_length:
        columns = "Columns are length × batch, unless they say.\n"
        parts += [f"### {title}\n", columns, markdown(table)]
    for title, table in section.rates_tried:
        parts += [f"### Learning rates tried: {title}\n", markdown(table)]
    return "\n".join(parts)


def _study_tables(study: Study) -> str:
    parts = [f"## {study.title}\n\n{study.lead}\n"]
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
    (out / "table.md").write_text("\n".join(tables))
    rows = [part.rows for part in parts] or [tidy([])]
    pd.concat(rows).to_csv(out / "table.csv", index=False)
    (out / "claims.md").write_text(claims.markdown(found))
    claims.table(found).to_csv(out / "claims.csv", index=False)
    crossed = [part.crossovers.assign(of=part.title) for part in parts]
    if any(map(len, crossed)):
        pd.concat(crossed).to_csv(out / "crossovers.csv", index=False)
    if len(ratios):
        ratios.to_csv(out / "peers.csv", index=False)
    return [*paths, out / "claims.md", out / "table.md", out / "table.csv"]
