"""The README's numbers are the Records': its table is the report's own."""

import re
from pathlib import Path

import results
from report.build import sections
from report.summary import markdown

ROOT = Path(__file__).parents[1]
LABEL = "reference-cpu-2-core-amd-epyc"


def test_the_table_is_what_the_records_say():
    (part,) = sections(results.load([LABEL]).records)
    assert markdown(part.summary) in (ROOT / "README.md").read_text()


def test_every_link_into_the_repository_leads_somewhere():
    for page in ("README.md", "CONTRIBUTING.md", *map(str, (ROOT / "docs").glob("*.md"))):
        path = ROOT / page
        for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
            assert (path.parent / link).exists(), f"{page}: {link}"
