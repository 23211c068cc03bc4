"""The catalogue: every architecture's own words, and costs counted from its shapes."""

from pathlib import Path

import pytest

import archs
from benchmarks import catalogue, outside

PAGE = Path(__file__).parents[1] / "docs" / "architectures.md"


def test_the_page_is_what_the_code_says():
    assert catalogue.markdown() == PAGE.read_text(), "python -m benchmarks catalogue writes it"


@pytest.mark.parametrize("arch", archs.names())
def test_every_architecture_says_its_equations_and_its_source(arch):
    said = catalogue.entry(arch)
    assert "```\n" in said and "Ops and their kernels: `" in said
    assert "http" in said or any(f", {year}." in said for year in range(1980, 2030))


def test_states_are_told_as_they_grow():
    # k and v of twelve layers of 768 numbers, in float32, and a position a layer
    assert catalogue.state("gpt2") == f"96 + {2 * 12 * 768 * 4:,} T"
    assert catalogue.state("gru").endswith(", constant")
    assert ", up to T = " in catalogue.state("swa")
    assert catalogue.state("bert") == "none: it reads a text at once"


def test_what_is_asked_for_by_name_exists():
    assert set(archs.ON_REQUEST) <= set(archs.names())
    assert set(archs.usual()) | set(archs.ON_REQUEST) == set(archs.names())


def test_all_is_every_one_that_has_all_phases():
    assert outside.option("all") == [name for name in archs.names() if name != "bert"]
    assert outside.option("bert,gru") == ["bert", "gru"]
