"""`python -m tests.fuzz --inputs 1000000`: all that is read is answered, or refused as documented.

Inputs are made from a seed: real Records spoilt field by field and byte by byte, command lines of
real and of absurd words. What comes out otherwise is a crash, told with the command that asks the
same again. Nothing is measured, and nothing is written but into a temporary folder.
"""

import argparse
import contextlib
import functools
import gc
import io
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import msgspec
from _pytest.config.argparsing import Parser
from _pytest.config.exceptions import UsageError

from benchmarks import conftest, outside, sweep
from benchmarks.__main__ import parser as benchmarks_parser
from report import peers, studies
from report.__main__ import main as report_main
from report.build import _tables as report_tables
from report.build import sections
from report.claims import findings, markdown
from report.comparison import benchmark_json, gate
from report.comparison.ratios import pair
from report.comparison.sides import Incomparable, of_records
from report.parts import of_sweep, outline, parts, whole
from report.plots.style import styles
from results.bounds import Misfit
from results.names import parsed
from results.parsing import parse
from results.schema import record_path
from tests import fuzz_inputs
from tests.report_records import machine

SHOWN = 3  # crashes of a target
ELSEWHERE = Path("/somewhere/results")


@dataclass(frozen=True)
class Target:
    """`ask` returns where the input is accepted, and raises one of `refusals` where it is not."""

    name: str
    share: float  # of all inputs
    draw: Callable[[Random], Any]
    ask: Callable[[Any], object]
    refusals: tuple[type[BaseException], ...]


@dataclass
class Seen:
    accepted: int = 0
    refused: int = 0
    took_s: float = 0.0
    crashes: list[str] = field(default_factory=list)


def load(content: bytes) -> None:
    """What loads, loads again as itself, and its file lies where it belongs or nowhere."""
    record = parse(content)
    assert parse(msgspec.json.encode(record)) == record
    with contextlib.suppress(ValueError):
        path = record_path(record.case, record.label, ELSEWHERE)
        assert Path(os.path.normpath(path)).parents[1] == ELSEWHERE


def tell(content: bytes) -> None:
    """All that a report says of the Record beside others, but for figures and details."""
    record = parse(content)
    records = [*fuzz_inputs.companions(record.case.phase), record]
    own = parts(records)
    told = list(sections(own, replace(whole(map(outline, own)), detailed=set())))
    others = [each for each in records if not of_sweep(each)]
    found = findings([*(one.evidence for one in told), *studies.readings(others)])
    assert markdown(found) and all(map(report_tables, told))
    studies.studies(others, styles({each.case.arch for each in others}))
    peers.text(peers.ratios(others))
    pair(of_records("a", records[:-1], []), of_records("b", [record], []))


class Commands:
    """The commands, with a folder of two labels."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.results = folder, folder / "results"
        self.benchmarks, self.pytest = benchmarks_parser(), Parser(_ispytest=True)
        conftest.pytest_addoption(self.pytest)
        for label in ("a", "b"):
            for record in machine(("gru", "lstm"), label=label):
                record.save(self.results)

    def ask_benchmarks(self, words: list[str]) -> None:
        options = parsed(self.benchmarks, words)
        if words[0] == "list":
            sweep.cases(options, "cpu", "text")

    def ask_report(self, words: list[str]) -> None:
        """Nothing is drawn: no label is there for what draws."""
        if words[0] in ("build", "figures"):
            words = [*words, "nobody"]
        report_main([*words, "--results", str(self.results)])

    def ask_file(self, content: bytes) -> None:
        path = self.folder / "benchmarks.json"
        path.write_bytes(content)
        benchmark_json.read(path)

    def targets(self) -> tuple[Target, ...]:
        file = fuzz_inputs.benchmark_file()
        line = fuzz_inputs.command_line
        return (
            Target("Record, field by field", 0.2, fuzz_inputs.fields, load, (Misfit,)),
            Target("Record, byte by byte", 0.7, fuzz_inputs.raw_bytes, load, (Misfit,)),
            Target(
                "python -m benchmarks",
                0.01,
                lambda random: line(random, "benchmarks"),
                self.ask_benchmarks,
                (SystemExit, ValueError),
            ),
            Target(
                "pytest benchmarks",
                0.02,
                lambda random: line(random, "pytest"),
                self.pytest.parse,
                (UsageError,),
            ),
            Target(
                "python -m report",
                0.002,
                lambda random: line(random, "report"),
                self.ask_report,
                (SystemExit,),
            ),
            Target("--fail-on", 0.05, fuzz_inputs.condition, gate.parse, (Incomparable,)),
            Target(
                "a file of pytest-benchmark",
                0.0179,
                lambda random: fuzz_inputs.raw_bytes(random, file),
                self.ask_file,
                (Incomparable,),
            ),
            Target("report of a Record", 0.0001, fuzz_inputs.odd, tell, (Misfit, Incomparable)),
        )


@contextlib.contextmanager
def commands() -> Iterator[Commands]:
    """What they print is kept from the terminal; what is installed is looked up once."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        once = functools.cache(outside.installed)
        stack.enter_context(mock.patch.object(outside, "installed", once))
        yield Commands(Path(folder))


def ask(target: Target, seed: int, at: int) -> bool:
    """Whether the input is accepted; what it crashes with is raised."""
    question = target.draw(Random(f"{seed} {target.name} {at}"))
    nowhere = io.StringIO()
    try:
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            target.ask(question)
    except target.refusals:
        return False
    return True


def fuzz(target: Target, seed: int, count: int) -> Seen:
    seen, began_s = Seen(), time.monotonic()
    for at in range(count):
        try:
            accepted = ask(target, seed, at)
        except (Exception, SystemExit) as error:
            where = traceback.extract_tb(error.__traceback__)[-1]
            seen.crashes.append(
                f"{type(error).__name__} at {Path(where.filename).name}:{where.lineno}; again: "
                f"python -m tests.fuzz --seed {seed} --target '{target.name}' --at {at}"
            )
        else:
            seen.accepted += accepted
            seen.refused += not accepted
    seen.took_s = time.monotonic() - began_s
    return seen


def row(name: str, count: int, seen: Seen) -> str:
    return (
        f"{name:<28}{count:>10,}{seen.accepted:>10,}{seen.refused:>10,}{len(seen.crashes):>9,}"
        f"{seen.took_s:>8.0f} s"
    )


HEAD = f"{'target':<28}{'inputs':>10}{'accepted':>10}{'refused':>10}{'crashes':>9}{'took':>10}"


def run(inputs: int, seed: int) -> list[str]:
    """Every target has its share of the inputs; tells of each, and returns all crashes."""
    print(HEAD, flush=True)
    every, total = Seen(), 0
    with commands() as known:
        for target in known.targets():
            count = max(1, round(inputs * target.share))
            seen = fuzz(target, seed, count)
            print(row(target.name, count, seen), flush=True)
            for crash in seen.crashes[:SHOWN]:
                print(f"  {crash}", flush=True)
            total += count
            every.accepted += seen.accepted
            every.refused += seen.refused
            every.took_s += seen.took_s
            every.crashes += seen.crashes
    print(row("all", total, every))
    return every.crashes


def main(argv: Sequence[str] | None = None) -> int:
    """0: nothing crashed; 1: something did."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", help="this one alone, as the table calls it")
    parser.add_argument("--at", type=int, default=0, help="with --target: this input alone")
    given = parser.parse_args(argv)
    if given.target is None:
        gc.freeze()  # torch's objects need no looking through again and again
        return int(bool(run(given.inputs, given.seed)))
    with commands() as known:
        (target,) = (each for each in known.targets() if each.name == given.target)
        print(repr(target.draw(Random(f"{given.seed} {target.name} {given.at}"))))
        print("accepted" if ask(target, given.seed, given.at) else "refused")
    return 0


if __name__ == "__main__":
    sys.exit(main())
