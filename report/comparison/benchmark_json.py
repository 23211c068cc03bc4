"""A file that plain pytest-benchmark wrote with --benchmark-json, as a side of a comparison."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from report.comparison.sides import Cell, Cells, Incomparable, Quantity, Side
from results.loading import contents

# pytest-benchmark's own word for calls a second
OPS = Quantity(name="ops", label="Calls a second", better="higher", exact=False, of=lambda _: None)
SHORTEST_S, LONGEST_S = 1e-15, 1e15  # beyond lies no time, and near the end of floats no ratio


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and SHORTEST_S < value < LONGEST_S


def _cell(benchmark: Any) -> tuple[str, Cell]:
    """Raises KeyError, TypeError or ValueError where the file is not what it should be."""
    name, stats = benchmark["fullname"], benchmark["stats"]
    median_s, rounds_s = stats["median"], stats.get("data", [])
    if not isinstance(name, str) or not isinstance(rounds_s, list):
        raise TypeError("a name or its rounds are of the wrong type")
    if not all(map(_is_time, (median_s, *rounds_s))):
        raise ValueError("a time is no positive number of seconds")
    group = benchmark.get("group") or name.split("::")[0]
    cell = Cell(
        group=str(group), value=1 / median_s, step_s=tuple(map(float, rounds_s)), ceilings={}
    )
    return name, cell


def _facts(raw: Mapping[str, Any]) -> dict[str, str]:
    """What the file says of machine, commit and versions, flat."""
    facts = {"pytest-benchmark": str(raw.get("version"))}
    for about in ("machine_info", "commit_info"):
        known = raw.get(about)
        for key, value in (known if isinstance(known, dict) else {}).items():
            facts[f"{about.removesuffix('_info')}: {key}"] = str(value)
    return facts


def read(path: Path) -> Side:
    """The side in `path`. Raises Incomparable, naming the file, if it does not hold one."""
    try:
        raw = json.loads(contents(path))
        cells: Cells = dict(map(_cell, raw["benchmarks"]))
        facts = _facts(raw)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Incomparable(
            f"{path} is not a file of pytest-benchmark ({type(error).__name__}: {error}); "
            "`pytest --benchmark-json FILE` writes one"
        ) from error
    return Side(
        name=path.name,
        quantities={"ops": OPS},
        cells={"ops": cells},
        failed={},
        facts=lambda _: facts,
    )
