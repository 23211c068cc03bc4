"""`python -m report compare`: from names to sides, and from what is found to an exit code."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.console import Console

import results
from report.comparison import benchmark_json, gate, pages
from report.comparison.gate import Condition
from report.comparison.ratios import pair
from report.comparison.sides import QUANTITIES, Incomparable, Side, of_records
from results.names import folder, real

Complain = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "sides",
        nargs="+",
        metavar="LABEL[+LABEL…]|FILE.json",
        help="the baseline first; of LABEL+LABEL, each cell as it was when the machine was calmest",
    )
    parser.add_argument("--results", type=folder, default=results.ROOT, help="folder to read")
    parser.add_argument("--markdown", action="store_true", help="as Markdown, not as tables")
    parser.add_argument(
        "--out", type=folder, help="folder to write compare.md, .html and .json into"
    )
    parser.add_argument(
        "--fail-on",
        action="append",
        default=[],
        metavar="'QUANTITY<RATIO'",
        help="exit with 1 if the interval of a ratio to the baseline excludes this threshold",
    )


def _side(name: str, root: Path, asked: Iterable[str], complain: Complain) -> tuple[Side, bool]:
    """The side of that name, and whether all of it could be read.

    Raises Incomparable, or ValueError on a label that is not there.
    """
    if name.endswith(".json"):
        return benchmark_json.read(Path(name)), True
    labels = [name] if name in results.loading.labels_in(root) else name.split("+")
    loaded = results.load(labels, root)
    for sentence in loaded.unreadable:
        complain(sentence)
    return of_records(name, loaded.records, asked), not loaded.unreadable


def _sides(
    given: argparse.Namespace, conditions: list[Condition], complain: Complain
) -> tuple[list[Side], bool]:
    names = list(dict.fromkeys(given.sides))
    if len(names) < 2:
        raise Incomparable("compare needs two different labels or files, the baseline first")
    if len({name.endswith(".json") for name in names}) > 1:
        raise Incomparable("a label and a file of pytest-benchmark share no cell; compare alike")
    asked = {c.quantity for c in conditions if c.quantity in QUANTITIES}
    found = [_side(name, real(given.results), sorted(asked), complain) for name in names]
    return [side for side, _ in found], all(whole for _, whole in found)


def run(given: argparse.Namespace, complain: Complain) -> int:
    """0: all is well; 1: the gate fired, or something could not be read or written; 2: asked for
    what is not there."""
    root, out = real(given.results), given.out and real(given.out)
    if out and (root == out or root in out.parents):
        complain(f"{given.out} lies in {given.results}, which holds only what was observed")
        return 2
    try:
        conditions = list(map(gate.parse, given.fail_on))
        (baseline, *others), whole = _sides(given, conditions, complain)
        pairs = [pair(baseline, other) for other in others]
        verdicts = gate.verdicts(conditions, pairs)
    except ValueError as error:
        complain(str(error))
        return 2
    if given.markdown:
        print(pages.markdown(pairs, verdicts), end="")
    else:
        Console().print(pages.terminal(pairs, verdicts))
    if out:
        files = {
            "compare.md": pages.markdown(pairs, verdicts),
            "compare.html": pages.html(pairs, verdicts),
            "compare.json": pages.as_json(pairs, verdicts),
        }
        try:
            pages.write(files, out)
        except OSError as error:
            complain(f"cannot write the comparison to {given.out}: {error}")
            return 1
    return int(not whole or any(verdict.fires for verdict in verdicts))
