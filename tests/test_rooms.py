"""Who may import whom: archs → benchmarks → results ← report, and never back."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = {
    "archs": {"archs"},
    "results": {"results"},
    "benchmarks": {"archs", "benchmarks", "results"},
    "report": {"report", "results"},
}
BANNED = {
    "archs": {"time", "random", "os", "pathlib", "sys", "io", "logging"},
    "benchmarks": {"matplotlib", "pandas"},
    "results": {"torch", "numpy", "pandas"},
    "report": {"torch"},
}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def imports(path):
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = [alias.name for n in nodes if isinstance(n, ast.Import) for alias in n.names]
    names += [n.module for n in nodes if isinstance(n, ast.ImportFrom) and n.module]
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_room(path):
    room = path.relative_to(ROOT).parts[0]
    reached = imports(path)
    assert reached & ROOMS.keys() <= ROOMS[room]
    assert not reached & BANNED[room]


def test_the_harness_knows_no_architecture():
    """No name of one in a string of benchmarks/ or report/: a new file needs no edit there. Other
    people's code, in peers/, may call something by the same name."""
    names = {p.stem for p in (ROOT / "archs").glob("[!_]*.py")}
    for path in FILES:
        room, inner, *_ = path.relative_to(ROOT).parts
        if room not in ("benchmarks", "report") or inner == "peers":
            continue
        strings = {
            n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)
        }
        assert not strings & names, path
