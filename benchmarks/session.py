"""One sweep in one process: which cells are left, which core runs them, what is known meanwhile."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import results
from benchmarks import corpus, harness, machine, revisits, sweep
from benchmarks.harness import Ledger, Stopwatch
from benchmarks.sweep import TIMED
from benchmarks.training import checkpoint_path
from benchmarks.worker import TrainingPool
from results import Case, Record
from results.schema import OF_TEXT, record_path


class Session:
    """Raises ValueError where `options` name what does not exist, before anything is measured."""

    def __init__(self, options: Any) -> None:
        self.options, self.root = options, Path(options.results)
        device = machine.pick_device(options.device)
        sweep.check(options)
        machine.settle()
        self.free_cores = machine.use_one_core() if device == "cpu" else []
        reads_text = any(phase in OF_TEXT for phase in sweep.asked_phases(options))
        self.corpus = corpus.load(options.corpus, options.tokenizer) if reads_text else None
        self.cases = sweep.cases(options, device, self.corpus.name if self.corpus else "")
        self.env = machine.environment(device, options.label)
        self.ledger, self.began_s = Ledger(), time.perf_counter()
        self.todo: set[Case] = set()
        self.out_of_memory: dict[tuple[str, ...], int] = {}  # shortest length that did not fit
        self.timed: dict[Case, Record] = {}  # by this session
        self.last_timed: Case | None = None
        self.pool: TrainingPool | None = None
        self.training: dict[Case, Future[None]] = {}

    @property
    def folder(self) -> Path:
        return self.root / self.env.label

    def start(self, wanted: Iterable[Case]) -> None:
        """Check that results can be kept, measure the ceilings, set the training cores to work.

        Raises ValueError if the results folder cannot be written.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / ".writable").touch()
            (self.folder / ".writable").unlink()
        except OSError as error:
            raise ValueError(
                f"results cannot be kept in {self.folder}: {error.strerror}; "
                "use --results DIR with a folder you may write"
            ) from None
        todo = [case for case in wanted if self.options.fresh or not self.path(case).exists()]
        self.todo = set(todo)
        self.last_timed = next((case for case in reversed(todo) if case.phase in TIMED), None)
        for dtype in sorted({case.dtype for case in todo}):
            self.env.ceilings.update(self._ceilings(dtype))
        if self.options.fresh:
            for case in todo:
                checkpoint_path(self.path(case)).unlink(missing_ok=True)
        training = [case for case in todo if case.tokens is not None]
        if training and len(todo) > 1 and self.free_cores:
            cores = self.free_cores[: len(training)]
            self.pool = self.pool or TrainingPool(cores, self.env, self.root)
            # from the far end, so that this process, done timing, meets the workers halfway
            for case in reversed(training):
                self.training[case] = self.pool.submit(
                    case, self.options.corpus, self.options.timeout
                )

    def path(self, case: Case) -> Path:
        return record_path(case, self.env.label, self.root)

    def _ceilings(self, dtype: str) -> dict[str, dict[str, Any]]:
        return self.ledger.run("ceilings", lambda: machine.measure_ceilings(self.env.device, dtype))

    def finished(self, case: Case) -> Record | None:
        """The Record of `case` that an earlier run saved, or None.

        Raises results.UnreadableRecord if the file there is not a Record.
        """
        return None if case in self.todo else results.read(self.path(case))

    def measure(self, case: Case, stopwatch: Stopwatch | None = None) -> Record:
        """The Record of `case`, saved."""
        future = self.training.get(case)
        if future is not None and not future.cancel():
            self.ledger.run("training", future.result)
            return results.read(self.path(case))
        fits = self.out_of_memory.get(_alike(case), case.seq_len)
        if fits < case.seq_len:
            record = harness.record(
                case,
                self.env,
                status="oom",
                reason=f"not run: out of memory at {fits} tokens already",
                **harness.model_facts(case),
            )
        else:
            record = harness.measure(
                case,
                self.env,
                stopwatch=stopwatch,
                corpus=self.corpus,
                root=self.root,
                limit_s=self.options.timeout,
                ledger=self.ledger,
            )
        record.save(self.root)
        if case.phase in TIMED:
            self.timed[case] = record
        checkpoint_path(self.path(case)).unlink(missing_ok=True)
        return record

    def revisit(self) -> Iterator[tuple[Record, Record]]:
        """Measure disturbed cells again, as long as that takes no more than its share of the time:
        each as it was and as it is now, saved."""
        limits_s = self.age_s() * (1 + revisits.SHARE), self.options.stop_after
        end_s = min(limit_s for limit_s in limits_s if limit_s is not None)

        def again(first: Record) -> Record:
            kept = harness.revisit(first, self.env, self.options.timeout, self.ledger)
            kept.save(self.root)
            return kept

        return revisits.until_calm(self.timed, again, lambda: self.age_s() < end_s)

    def note(self, record: Record) -> None:
        """Remember the shortest length that did not fit, from this run or an earlier one."""
        if record.status == "oom":
            alike, length = _alike(record.case), record.case.seq_len
            self.out_of_memory[alike] = min(length, self.out_of_memory.get(alike, length))

    def age_s(self) -> float:
        return time.perf_counter() - self.began_s

    def account(self) -> str:
        """Where the wall time went, in one sentence."""
        wall_s = self.age_s()
        spent = self.ledger.spent_s
        parts = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in spent.items())
        rest_s = wall_s - sum(spent.values())
        return (
            f"{self.folder}: {len(self.todo)} cells in {wall_s:.0f} s, of it {parts}; "
            f"harness {rest_s:.0f} s ({rest_s / wall_s:.0%})"
        )

    def close(self) -> None:
        if self.pool is not None:
            self.pool.close()


def _alike(case: Case) -> tuple[str, ...]:
    """Cells that differ in length only: what did not fit short will not fit long."""
    same = (case.grows, case.steps_of, case.memory_bytes, case.short_conv, case.task, case.load)
    return case.phase, case.arch, case.size, case.dtype, case.mode, *map(str, same)
