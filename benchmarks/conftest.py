"""The only file that knows pytest: options, order, the table at the end, what is printed."""

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import results
from archs._ops import KernelRefused
from benchmarks import revisits, sweep, timing
from benchmarks.isolation import Halt
from benchmarks.progress import Progress
from benchmarks.session import Session
from results import Case, Record
from results.names import folder

SESSION = pytest.StashKey[Session]()
PROGRESS = pytest.StashKey[Progress]()
CLOCK = timing.Playback()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("seqfrontier", "what to measure")
    for flag, keywords in sweep.OPTIONS:
        group.addoption(flag, **keywords)
    group.addoption("--fresh", action="store_true", help="measure finished cells again")
    group.addoption("--timeout", type=float, default=600.0, help="seconds a cell may take")
    group.addoption("--stop-after", type=float, help="seconds after which no cell is started")
    group.addoption(
        "--results", type=folder, default=results.ROOT, help="folder of labels (default: results/)"
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    # Progress writes a line a cell; pytest's own file names would break into it
    reporter: Any = config.pluginmanager.get_plugin("terminalreporter")
    reporter.showfspath = False


def interrupt_once(*signalled: object) -> None:
    """Ctrl-C ends the sweep; another one would only tear what that takes, a moment."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def pytest_sessionstart(session: pytest.Session) -> None:
    signal.signal(signal.SIGINT, interrupt_once)
    try:
        session.config.stash[SESSION] = Session(session.config.option)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    phase = metafunc.function.__name__.removeprefix("bench_")
    cases = metafunc.config.stash[SESSION].cases
    metafunc.parametrize("case", [case for case in cases if case.phase == phase], ids=str)


def pytest_collection_modifyitems(config: pytest.Config, items: list[Any]) -> None:
    order = {case: place for place, case in enumerate(config.stash[SESSION].cases)}
    # a phase nobody asked for leaves an item without a Case
    items[:] = [item for item in items if item.callspec.params["case"] in order]
    items.sort(key=lambda item: order[item.callspec.params["case"]])
    for item in items:
        phase = item.callspec.params["case"].phase
        item.add_marker(pytest.mark.benchmark(timer=CLOCK, group=phase))


def pytest_collection_finish(session: Any) -> None:
    if session.config.option.collectonly:
        return
    cases = [item.callspec.params["case"] for item in session.items]
    running = session.config.stash[SESSION]
    try:
        running.start(cases)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    session.config.stash[PROGRESS] = Progress(cases, 1 + len(running.crew_cores))


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> Callable[[Case], None]:
    """Measure one case, unless an earlier run did."""
    session = request.config.stash[SESSION]

    def run(case: Case) -> None:
        try:
            record = session.finished(case)
        except results.UnreadableRecord as error:
            pytest.fail(str(error), pytrace=False)
        if record is not None:
            session.walls.note(record)
            pytest.skip("measured already")
        try:
            record = session.measure(case)
        except KernelRefused as error:
            pytest.fail(str(error), pytrace=False)
        except Halt as error:
            request.session.shouldfail = str(error)
            pytest.fail(str(error), pytrace=False)
        except KeyboardInterrupt:
            # raised anew, here: a signal may fall where there is no line, which pytest cannot tell
            raise KeyboardInterrupt from None
        session.walls.note(record)
        request.node.user_properties += [("status", record.status), ("reason", record.reason)]
        if record.status == "error":
            pytest.fail(f"{case}: {record.reason}", pytrace=False)
        if record.step_s:
            # asked for only now: pytest-benchmark warns of a stopwatch nobody pressed
            benchmark: Any = request.getfixturevalue("benchmark")
            CLOCK.play(record.step_s)
            benchmark.pedantic(lambda: None, rounds=len(record.step_s))
            benchmark.extra_info.update(extra_info(record))

    return run


def extra_info(record: Record) -> dict[str, Any]:
    """What a reader of pytest-benchmark's own JSON needs to know beside the seconds."""
    case = record.case
    return {
        "label": record.label,
        "status": record.status,
        "tokens_per_step": case.batch * (1 if case.phase == "decode" else case.seq_len),
        "peak_bytes": record.peak_bytes,
        "state_bytes": record.state_bytes,
        "params": record.params,
    }


def pytest_runtest_teardown(item: Any) -> None:
    limit_s = item.config.option.stop_after
    if limit_s is not None and item.config.stash[SESSION].age_s() > limit_s:
        item.session.shouldstop = f"no cell starts after {limit_s:g} s; the next run goes on here"


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict) -> None:
    machine_info.update(config.stash[SESSION].env.machine)


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """Count the cell, but print no dot: Progress has a line for it."""
    return (report.outcome, "", "") if report.when == "call" else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: Any, call: Any) -> Iterator[None]:
    report: Any = yield
    case, writer = item.callspec.params["case"], item.config.get_terminal_writer()
    if report.when == "call":
        seen = dict(report.user_properties)
        status = "had" if report.skipped else seen.get("status", report.outcome)
        line = item.config.stash[PROGRESS].line(
            case,
            status,
            seen.get("reason"),
            None if report.skipped else report.duration,
        )
        colour = {"ok": "green", "had": "light", "failed": "red"}.get(status, "yellow")
        writer.line(line, **{colour: True})
    # here, as pytest keeps what is printed during a teardown
    if report.when == "teardown" and case == item.config.stash[SESSION].last_timed:
        try:
            for first, kept in item.config.stash[SESSION].revisit():
                writer.line(revisits.line(first, kept), light=True)
        except Halt as error:
            item.session.shouldfail = str(error)
    return report


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    session = config.stash.get(SESSION, None)
    if session is not None and session.todo:
        terminalreporter.write_line(session.account())


def pytest_sessionfinish(session: pytest.Session) -> None:
    running = session.config.stash.get(SESSION, None)
    if running is not None:
        running.close()
