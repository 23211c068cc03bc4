"""One sweep: which cells are left, which process measures them, what is known meanwhile."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import results
from benchmarks import corpus, isolation, machine, revisits, sweep
from benchmarks.claim import Claim
from benchmarks.harness import Ledger
from benchmarks.isolation import Crew, Halt, Worker
from benchmarks.machine import Environment
from benchmarks.process import Ended
from benchmarks.sweep import TIMED
from benchmarks.training import checkpoint_path
from benchmarks.walls import Walls
from results import Case, Record
from results.schema import record_path


class Session:
    """Raises ValueError where `options` name what does not exist, before anything is measured."""

    def __init__(self, options: Any) -> None:
        self.options, self.root = options, Path(options.results)
        device = machine.pick_device(options.device)
        sweep.check(options)
        reads_text = sweep.reads_text(options)
        self.corpus = corpus.load(options.corpus, options.tokenizer) if reads_text else None
        self.cases = sweep.cases(options, device, self.corpus.name if self.corpus else "")
        first, *others = machine.cores() if device == "cpu" else [None]
        machine.use_cores(*(others or [first]))  # not where cells are timed
        self.worker, self.crew_cores = Worker(device, first), others
        self.ledger, self.began_s = Ledger(), time.perf_counter()
        self.env = self._environment(device)
        self.had: dict[Case, Record] = {}  # by earlier runs
        self.todo: set[Case] = set()
        self.walls = Walls()
        self.timed: dict[Case, Record] = {}  # by this session
        self.last_timed: Case | None = None
        self.claim: Claim | None = None
        self.crew: Crew | None = None
        self.training: dict[Case, Future[Record]] = {}

    def _environment(self, device: str) -> Environment:
        """A GPU's is asked for in the worker, so that this process holds none of its memory."""
        if device == "cpu":
            return machine.environment(device, self.options.label)
        return Environment(**self._ask("environment", device=device, label=self.options.label))

    def _ask(self, do: str, **job: Any) -> dict[str, Any]:
        """Raises ValueError if the worker cannot answer."""
        try:
            self.ledger.add({"starting": self.worker.load()})
            asked = {"do": do, **job}
            answer: dict[str, Any] = self.ledger.run(do, lambda: self.worker.ask(asked))
            return answer
        except (Ended, Halt) as error:
            raise ValueError(f"nothing can be measured: {do}: {error}") from None

    @property
    def folder(self) -> Path:
        return self.root / self.env.label

    def start(self, wanted: Iterable[Case]) -> None:
        """Claim the results folder, measure the ceilings, set the training cores to work.

        Raises ValueError if the folder cannot be written, or another sweep writes it.
        """
        self.claim = self.claim or Claim(self.folder)
        todo = [case for case in wanted if not self._has(case)]
        self.todo = set(todo)
        self.last_timed = next((case for case in reversed(todo) if case.phase in TIMED), None)
        for dtype in sorted({case.dtype for case in todo}):
            self.env.ceilings.update(self._ask("ceilings", device=self.env.device, dtype=dtype))
        if self.options.fresh:
            for case in todo:
                checkpoint_path(self.path(case)).unlink(missing_ok=True)
        # several ranks have all cores
        training = [case for case in todo if case.tokens is not None and case.ranks == 1]
        if training and len(todo) > 1 and self.crew_cores:
            cores = self.crew_cores[: len(training)]
            self.crew = self.crew or Crew(cores, self.env, self.root)
            # from the far end, so that the other worker, done timing, meets these halfway
            for case in reversed(training):
                self.training[case] = self.crew.submit(
                    case, self.options.corpus, self.options.timeout
                )

    def _has(self, case: Case) -> bool:
        """Whether an earlier run answered. An error is no answer: it is measured again; a file that
        is no Record stays, and is told."""
        if self.options.fresh or not self.path(case).exists():
            return False
        try:
            record = results.read(self.path(case))
        except results.UnreadableRecord:
            return True
        if record.status != "error":
            self.had[case] = record
        return record.status != "error"

    def path(self, case: Case) -> Path:
        return record_path(case, self.env.label, self.root)

    def finished(self, case: Case) -> Record | None:
        """The Record of `case` that an earlier run saved, or None.

        Raises results.UnreadableRecord if the file there is not a Record.
        """
        if case in self.todo:
            return None
        return self.had[case] if case in self.had else results.read(self.path(case))

    def measure(self, case: Case) -> Record:
        """The Record of `case`, saved. Raises KernelRefused, and Halt if there can be no more."""
        assert self.claim is not None
        if not self.claim.holds():
            raise Halt(f"{self.folder} was removed meanwhile; run this again")
        future = self.training.get(case)
        if future is not None and not future.cancel():
            record: Record = self.ledger.run("training", future.result)
            return record
        if (beyond := self.walls.beyond(case, self.env)) is not None:
            return isolation.keep(beyond, self.root)
        record = self._work(case)
        if case.phase in TIMED:
            self.timed[case] = record
        return record

    def _work(self, case: Case, again: bool = False) -> Record:
        record, spent_s = self.worker.measure(
            case,
            self.env,
            self.root,
            sources=self.options.corpus,
            limit_s=self.options.timeout,
            again=again,
        )
        self.ledger.add(spent_s)
        return record

    def revisit(self) -> Iterator[tuple[Record, Record]]:
        """Measure disturbed cells again, as long as that takes no more than its share of the time:
        each as it was and as it is now, saved."""
        limits_s = self.age_s() * (1 + revisits.SHARE), self.options.stop_after
        end_s = min(limit_s for limit_s in limits_s if limit_s is not None)
        return revisits.until_calm(
            self.timed, lambda first: self._again(first), lambda: self.age_s() < end_s
        )

    def _again(self, first: Record) -> Record:
        """The first, where the process of the second does not answer."""
        kept = self._work(first.case, again=True)
        return kept if kept.status == "ok" else first

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
        if self.crew is not None:
            self.crew.close()
        self.worker.close()
        if self.claim is not None:
            self.claim.release()
            self.claim = None
