"""`python -m report build | figures | peers | compare`: what results/ holds, drawn and told."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

import results
from report import figures
from report.comparison import command as comparison
from report.folder import build
from report.peer_profile import profile
from report.peers import ratios, text
from report.plots.columns import WIDTHS
from report.processes import NoSuchLabel, load
from report.summary import markdown
from report.terminal import peers_table, table, words
from results.names import folder, parsed, real
from results.text import visible


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m report", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="write the figures, tables and index.html")
    build.add_argument("--out", type=folder, default=Path("report-out"), help="folder to write")
    peers = commands.add_parser("peers", help="how our code does beside other people's")
    peers.add_argument("--markdown", action="store_true", help="as a GitHub table")
    peers.add_argument("--profile", action="store_true", help="where the time of decode goes")
    drawn = commands.add_parser("figures", help="figures for a paper: PDF, SVG, PNG and captions")
    drawn.add_argument("--out", type=folder, default=Path("figures-out"), help="folder to write")
    drawn.add_argument("--column", choices=WIDTHS, default="double", help="3.3 or 6.9 inches wide")
    for command in (build, peers, drawn):
        command.add_argument("labels", nargs="*", metavar="LABEL", help="default: all")
        command.add_argument("--results", type=folder, default=results.ROOT, help="folder to read")
    comparison.add_arguments(commands.add_parser("compare", help="one label against another"))
    return parsed(parser, argv)


def _complain(sentence: str) -> None:
    print(f"report: {visible(sentence)}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """0: all is well; 1: something could not be read or written; 2: asked for what is not there."""
    given = _arguments(argv)
    if not given.results.is_dir():
        _complain(f"{given.results} is not a folder of results")
        return 2
    if given.command == "compare":
        return comparison.run(given, _complain)
    if given.command != "peers" and _misplaced(given):
        return 2
    try:
        return {"peers": _peers, "figures": _figures, "build": _build}[given.command](given)
    except NoSuchLabel as error:
        _complain(str(error))
        return 2


def _misplaced(given: argparse.Namespace) -> bool:
    root, out = real(given.results), real(given.out)
    inside = root == out or root in out.parents
    if inside:
        _complain(f"{given.out} lies in {given.results}, which holds only what was observed")
    return inside


def _loaded(given: argparse.Namespace) -> results.Loaded:
    loaded = load(given.labels or None, real(given.results))
    for sentence in loaded.unreadable:
        _complain(sentence)
    return loaded


def _nothing(given: argparse.Namespace) -> int:
    _complain(f"no readable Record in {given.results}; `pytest benchmarks` measures some")
    return 1


def _peers(given: argparse.Namespace) -> int:
    loaded = _loaded(given)
    found = ratios(loaded.records)
    if found.empty:
        _complain(f"no pair in {given.results}; `python -m benchmarks peers` measures some")
        return 1
    if given.profile:
        print(markdown(profile(loaded.records)), end="")
    elif given.markdown:
        print(markdown(text(found)), end="")
    else:
        Console().print(peers_table(found))
    return int(bool(loaded.unreadable))


def _figures(given: argparse.Namespace) -> int:
    loaded = _loaded(given)
    if not loaded.records:
        return _nothing(given)
    found = list(figures.printed(loaded.records, given.column))
    if not found:
        _complain("nothing to draw: a figure needs a train, prefill or decode Record that finished")
        return 1
    try:
        paths = figures.write(found, real(given.out))
    except OSError as error:
        _complain(f"cannot write the figures to {given.out}: {error}")
        return 1
    print(*paths, sep="\n")
    return int(bool(loaded.unreadable))


def _build(given: argparse.Namespace) -> int:
    try:
        built = build(given.labels or None, real(given.results), real(given.out))
    except OSError as error:
        _complain(f"cannot write the report to {given.out}: {error}")
        return 1
    told = built.told
    for sentence in told.unreadable:
        _complain(sentence)
    if not told.records:
        return _nothing(given)
    for part in told.parts:
        for sentence in part.contradictions:
            _complain(sentence)
        if part.disturbances:
            count = len(part.disturbances)
            _complain(f"{part.title}: the machine was not itself ({count}: see the page)")
        Console().print(table(part), *words(part), "", sep="\n")
    if len(built.peers):
        Console().print(peers_table(built.peers))
    for path in built.paths:
        if path.suffix in (".png", ".md", ".html"):
            print(path)
    return int(bool(told.unreadable))


if __name__ == "__main__":
    sys.exit(main())
