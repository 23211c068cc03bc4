"""The only file that knows pytest: options, order, the stopwatch, progress, the saving of Records."""

import time
from collections import defaultdict
from pathlib import Path

import pytest

import results
from benchmarks import corpus, harness, machine, sweep
from benchmarks.harness import Ledger
from benchmarks.worker import TrainingPool
from results import Case
from results.schema import record_path


def pytest_addoption(parser):
    group = parser.getgroup("seqfrontier", "what to measure")
    for flag, keywords in sweep.OPTIONS:
        group.addoption(flag, **keywords)
    group.addoption("--fresh", action="store_true", help="measure finished cells again")
    group.addoption("--timeout", type=float, default=600.0, help="seconds a cell may take")
    group.addoption(
        "--results", type=Path, default=results.ROOT, help="folder of labels (default: results/)"
    )


@pytest.hookimpl(trylast=True)
def pytest_configure(config):
    # Progress writes a line a cell; pytest's own file names would break into it
    config.pluginmanager.get_plugin("terminalreporter").showfspath = False


class Sweep:
    """One session: its cases, its machine, and what is already known about them."""

    def __init__(self, config):
        options = config.option
        self.config, self.options, self.root = config, options, options.results
        device = machine.pick_device(options.device)
        self.others = machine.use_one_core() if device == "cpu" else []
        phases = options.phase or sweep.PHASES
        self.corpus = corpus.load(options.corpus) if "quality" in phases else None
        name = self.corpus.name if self.corpus else ""
        self.cases = sweep.cases(options, device, name)
        self.env = machine.environment(device, options.label)
        self.ledger, self.began = Ledger(), time.perf_counter()
        self.todo, self.out_of_memory = set(), {}
        self.pool, self.training = None, {}

    def path(self, case):
        return record_path(case, self.env.label, self.root)

    def finished(self, case):
        """The Record of `case` that an earlier run saved, or None.

        Raises results.UnreadableRecord if the file there is not a Record.
        """
        return None if case in self.todo else results.read(self.path(case))

    def start(self, wanted):
        """Check that results can be kept before anything is measured, then begin."""
        folder = self.root / self.env.label
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".writable").touch()
            (folder / ".writable").unlink()
        except OSError as error:
            raise pytest.UsageError(
                f"results cannot be kept in {folder}: {error.strerror}"
            ) from None
        self.todo = {case for case in wanted if self.options.fresh or not self.path(case).exists()}
        for dtype in sorted({case.dtype for case in self.todo}):
            seen = lambda dtype=dtype: machine.measure_ceilings(self.env.device, dtype)  # noqa: E731
            self.env.ceilings.update(self.ledger.run("ceilings", seen))
        training = [case for case in wanted if case in self.todo and case.phase == "quality"]
        if training and len(self.todo) > 1 and self.others:
            self.pool = TrainingPool(self.others, self.env, self.root)
            # from the far end, so that the main process, done timing, meets the workers halfway
            self.training = {
                case: self.pool.submit(case, self.options.corpus, self.options.timeout)
                for case in reversed(training)
            }

    def measure(self, case, stopwatch):
        """The Record of `case`, saved."""
        future = self.training.get(case)
        if future is not None and not future.cancel():
            self.ledger.run("training", future.result)
            return results.read(self.path(case))
        kind = (case.phase, case.arch, case.size, case.dtype)
        if self.out_of_memory.get(kind, case.seq_len) < case.seq_len:
            reason = f"not run: out of memory at {self.out_of_memory[kind]} tokens already"
            facts = harness.model_facts(case)
            record = harness.record(case, self.env, status="oom", reason=reason, **facts)
        else:
            record = harness.measure(
                case,
                self.env,
                stopwatch=stopwatch,
                corpus=self.corpus,
                limit_s=self.options.timeout,
                ledger=self.ledger,
            )
        record.save(self.root)
        return record

    def note(self, record):
        """Remember the shortest length that did not fit, from this run or an earlier one."""
        case = record.case
        if record.status == "oom":
            kind = (case.phase, case.arch, case.size, case.dtype)
            self.out_of_memory[kind] = min(case.seq_len, self.out_of_memory.get(kind, case.seq_len))


@pytest.fixture(scope="session")
def plan(request):
    return request.config.stash[SWEEP]


SWEEP = pytest.StashKey[Sweep]()


def pytest_sessionstart(session):
    try:
        session.config.stash[SWEEP] = Sweep(session.config)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def pytest_generate_tests(metafunc):
    phase = metafunc.function.__name__.removeprefix("bench_")
    cases = [c for c in metafunc.config.stash[SWEEP].cases if c.phase == phase]
    metafunc.parametrize("case", cases, ids=str)


def pytest_collection_modifyitems(session, config, items):
    order = {case: place for place, case in enumerate(config.stash[SWEEP].cases)}
    # a phase nobody asked for leaves an item without a Case
    items[:] = [item for item in items if item.callspec.params["case"] in order]
    items.sort(key=lambda item: order[item.callspec.params["case"]])


def pytest_collection_finish(session):
    if not session.config.option.collectonly:
        cases = [item.callspec.params["case"] for item in session.items]
        session.config.stash[SWEEP].start(cases)
        session.config.stash[PROGRESS] = Progress(session.config, cases)


@pytest.fixture
def cell(plan, request):
    """Measure one case, or say why not."""

    def run(case):
        try:
            done = plan.finished(case)
        except results.UnreadableRecord as error:
            pytest.fail(str(error), pytrace=False)
        if done is not None:
            plan.note(done)
            pytest.skip("measured already")
        record = plan.measure(case, stopwatch)
        plan.note(record)
        request.node.user_properties.append(("status", record.status))
        request.node.user_properties.append(("reason", record.reason))
        if "benchmark" in request.node.funcargs:
            fill(request.getfixturevalue("benchmark"), record)

    def stopwatch(step, rounds):
        # asked for only now: pytest-benchmark warns of a stopwatch nobody pressed
        benchmark = request.getfixturevalue("benchmark")
        benchmark._timer = machine.clock
        benchmark.group = f"{request.node.callspec.params['case'].phase}"
        benchmark.pedantic(step, rounds=rounds)
        return tuple(benchmark.stats.stats.data)

    return run


def fill(benchmark, record):
    case = record.case
    benchmark.extra_info |= {
        "label": record.label,
        "status": record.status,
        "tokens_per_step": case.batch * (1 if case.phase == "decode" else case.seq_len),
        "peak_bytes": record.peak_bytes,
        "state_bytes": record.state_bytes,
        "params": record.params,
    }


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info.update(config.stash[SWEEP].env.machine)


class Progress:
    """One line a cell: what came of it, how long it took, and when the sweep should end."""

    def __init__(self, config, cases: list[Case]):
        self.write = config.get_terminal_writer()
        self.left = defaultdict(int)
        self.took = defaultdict(list)
        for case in cases:
            self.left[case.phase] += 1
        self.total, self.done = len(cases), 0

    def tell(self, report, case):
        self.done += 1
        self.left[case.phase] -= 1
        properties = dict(report.user_properties)
        status = properties.get("status", report.outcome)
        if report.skipped:
            status = "had"
        else:
            self.took[case.phase].append(report.duration)
        reason = f": {properties['reason']}" if properties.get("reason") else ""
        self.write.line(
            f"[{self.done:>{len(str(self.total))}}/{self.total}] {case}  {status}{reason}"
            f"  {report.duration:.1f} s{self.eta()}",
            **{"green": status == "ok", "red": report.failed, "yellow": bool(reason)},
        )

    def eta(self):
        known = [s for took in self.took.values() for s in took]
        if not known or self.done == self.total:
            return ""
        overall = sum(known) / len(known)
        seconds = sum(
            count * (sum(self.took[phase]) / len(self.took[phase]) if self.took[phase] else overall)
            for phase, count in self.left.items()
        )
        return f"  about {seconds / 60:.1f} min left"


PROGRESS = pytest.StashKey[Progress]()


def pytest_report_teststatus(report, config):
    if report.when == "call" or report.skipped:
        return report.outcome, "", report.outcome.upper()
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.when == "call" and PROGRESS in item.config.stash:
        item.config.stash[PROGRESS].tell(report, item.callspec.params["case"])
    return report


def pytest_terminal_summary(terminalreporter, config):
    plan = config.stash.get(SWEEP, None)
    if plan is None or not plan.ledger.spent_s:
        return
    wall = time.perf_counter() - plan.began
    spent = plan.ledger.spent_s
    parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.items())
    rest = wall - sum(spent.values())
    terminalreporter.write_line(
        f"{plan.root / plan.env.label}: {wall:.0f} s, of it {parts}, "
        f"harness {rest:.0f} s ({rest / wall:.0%})"
    )


def pytest_sessionfinish(session):
    plan = session.config.stash.get(SWEEP, None)
    if plan is not None and plan.pool is not None:
        plan.pool.close()
