"""The README's numbers are the Records': its table is the report's own."""

import re
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np

import results
from report import claims, peer_profile, peers, studies
from report.build import sections
from report.claims import findings
from report.parts import outline, parts, whole
from report.sensitivity import curves
from report.studies import is_study
from report.summary import markdown

ROOT = Path(__file__).parents[1]
LABEL = "reference-cpu-2-core-amd-epyc"
OTHER = f"{LABEL}-avx2"  # another machine: the field, alignment, filling in


def told(records):
    own = parts(records)
    return list(sections(own, whole(map(outline, own))))


def test_the_table_is_what_the_records_say():
    (part,) = told(results.load([LABEL]).records)
    assert markdown(part.summary) in (ROOT / "README.md").read_text()


def test_the_fields_table_is_what_the_records_say():
    (part,) = told(results.load([OTHER]).records)
    assert markdown(part.summary) in (ROOT / "docs" / "field.md").read_text()


def test_the_verdicts_are_what_the_records_say():
    records = results.load([LABEL, OTHER]).records
    found = findings([*(part.evidence for part in told(records)), *studies.readings(records)])
    assert claims.markdown(found) == (ROOT / "docs" / "verdicts.md").read_text()


def test_every_link_into_the_repository_leads_somewhere():
    for page in ("README.md", "CONTRIBUTING.md", *map(str, (ROOT / "docs").glob("*.md"))):
        path = ROOT / page
        for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / link).exists(), f"{page}: {link}"


def test_the_peers_table_is_what_the_records_say():
    records = results.load([LABEL, OTHER]).records
    page = (ROOT / "docs" / "peers.md").read_text()
    assert markdown(peers.text(peers.ratios(records))) in page
    assert markdown(peer_profile.profile(records)) in page


def test_the_learning_rates_are_what_the_records_say():
    page = (ROOT / "docs" / "learning-rates.md").read_text()
    records = [r for r in results.load([LABEL]).records if not is_study(r)]
    for title, table in curves(records):
        assert title in page
        assert markdown(table) in page


def test_recurrent_models_cost_grows_linearly_as_told():
    page = (ROOT / "docs" / "peers.md").read_text()
    by_arch = defaultdict(list)
    for record in results.load([f"{LABEL}-growth"]).records:
        by_arch[record.case.arch].append(record)
    assert len(by_arch) == 6
    for arch, records in by_arch.items():
        log_T = np.log([r.case.seq_len for r in records])
        time = np.polyfit(log_T, np.log([median(r.step_s) for r in records]), 1)[0]
        memory = np.polyfit(log_T, np.log([r.peak_bytes for r in records]), 1)[0]
        assert max(time, memory) <= 1.1
        assert f"| {arch} | {time:.2f} | {memory:.2f} |" in page
