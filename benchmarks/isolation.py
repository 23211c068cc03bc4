"""Cells run in processes that may crash, hang or be killed: then that is their Record, and the
sweep goes on with a new process. One that does well is used again, as starting it takes seconds."""

import queue
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from msgspec import to_builtins

import results
from archs._ops import KernelRefused
from benchmarks import harness
from benchmarks.machine import Environment
from benchmarks.process import Child, Ended
from benchmarks.training import checkpoint_path
from results import Case, Record
from results.schema import record_path

LEAST_GRACE_S = 5.0


class Halt(Exception):
    """Nothing more can be measured here; the message says why."""


def grace_s(limit_s: float) -> float:
    """A cell keeps its own limit between steps; this much later it hangs. Its text is loaded, and
    a tokenizer trained, in that time too."""
    return max(LEAST_GRACE_S, limit_s / 4)


class Worker:
    """Measures one case at a time, on `core` if there is one."""

    def __init__(self, device: str, core: int | None = None) -> None:
        self.arguments = [device] if core is None else [device, str(core)]
        self.environment = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}
        self.child: Child | None = None
        self.used = False  # the child has measured something
        self.closing = False  # whoever asks meanwhile, in another thread, is told so

    def start(self) -> Child:
        """The process, which may still be loading. Raises Halt if there can be none."""
        if self.child is None:
            try:
                self.child = Child("benchmarks.worker", *self.arguments, **self.environment)
            except OSError as error:
                raise Halt(f"no process can be started to measure in: {error}") from None
            self.used = False
        if self.closing:  # maybe only just
            self.child.kill()
            raise Halt("the sweep ends here")
        return self.child

    def load(self) -> float:
        """Seconds waited until the process has loaded. Raises as `ask` does."""
        began = time.perf_counter()
        self._have(Child.load)
        return time.perf_counter() - began

    def ask(self, job: dict[str, Any], limit_s: float | None = None) -> dict[str, Any]:
        """Raises Ended if the process does not answer, Halt if there can be none."""
        answer: dict[str, Any] = self._have(lambda child: child.ask(job, limit_s))
        return answer

    def _have(self, what: Callable[[Child], Any]) -> Any:
        child = self.start()
        try:
            return what(child)
        except Ended:
            if self.closing:
                raise Halt("the sweep ends here") from None
            self.child = None
            raise
        except OSError as error:
            raise Halt(f"no process can be asked: {error}") from None

    def measure(
        self,
        case: Case,
        env: Environment,
        root: Path,
        *,
        sources: Sequence[str] = (),
        limit_s: float,
        again: bool = False,
    ) -> tuple[Record, dict[str, float]]:
        """The Record of `case`, saved, and where the time went; `again` visits it once more.

        A crash is an error on record, that no answer of an earlier run makes place for. Out of
        memory is asked again of a process that has measured nothing else: what an earlier cell did
        not give back is not held against this one. Raises KernelRefused, and Halt if Records cannot
        be kept.
        """
        used = self.used and self.child is not None
        record, spent_s = self._measure(case, env, root, sources, limit_s, again)
        if record.status == "oom" and used:
            record, spent_s = self._measure(case, env, root, sources, limit_s, again)
        return record, spent_s

    def _measure(
        self,
        case: Case,
        env: Environment,
        root: Path,
        sources: Sequence[str],
        limit_s: float,
        again: bool,
    ) -> tuple[Record, dict[str, float]]:
        job = {"case": to_builtins(case), "env": asdict(env), "root": str(root), "again": again}
        job |= {"corpus": list(sources), "limit_s": limit_s}
        try:
            loading_s = self.load()
            self.used = True
            answer = self.ask({"do": "measure", **job}, limit_s + grace_s(limit_s))
        except Ended as ended:
            failed = harness.record(case, env, status=ended.status, reason=ended.reason)
            sys.stderr.write(ended.said)
            return failed if again else keep(failed, root), {}
        if "refused" in answer:
            raise KernelRefused(answer["refused"])
        if "unsaved" in answer:
            raise Halt(unsaved(answer["unsaved"]))
        try:
            record = results.read(record_path(case, env.label, root))
        except results.UnreadableRecord as error:
            raise Halt(f"what was kept just now cannot be read: {error.__cause__}") from None
        if record.status in ("oom", "timeout"):
            self.close()  # whatever it still holds is not held against the next
        return record, answer["spent_s"] | {"starting": loading_s}

    def kill(self) -> None:
        """End the process; a thread that asks it returns."""
        self.closing = True
        if self.child is not None:
            self.child.kill()

    def close(self) -> None:
        """Nobody may be asking it. It starts a new process when it is asked again."""
        if self.child is not None:
            self.child.close()
            self.child = None


def unsaved(why: str) -> str:
    return f"results cannot be kept: {why}; all earlier ones are; make room and run this again"


def keep(record: Record, root: Path) -> Record:
    """Save a Record that no worker did, unless it is an error and an earlier run has an answer.

    Raises Halt if it cannot be saved.
    """
    path = record.path(root)
    if record.status == "error" and path.exists():
        with suppress(results.UnreadableRecord):
            if results.read(path).status != "error":
                return record
    try:
        record.save(root)
    except OSError as error:
        raise Halt(unsaved(f"{error.strerror}: {path}")) from None
    if record.status != "error":  # which is gone on from
        checkpoint_path(path).unlink(missing_ok=True)
    return record


class Crew:
    """Workers that train, a core each, while another one times cells on a core of its own."""

    def __init__(self, cores: Sequence[int | None], env: Environment, root: Path) -> None:
        self.env, self.root = env, root
        self.threads = ThreadPoolExecutor(len(cores))
        self.workers = [Worker("cpu", core) for core in cores]
        self.idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
        for worker in self.workers:
            worker.start()
            self.idle.put(worker)

    def submit(self, case: Case, sources: Sequence[str], limit_s: float) -> Future[Record]:
        """Done once the Record is saved. `cancel()` succeeds only if no worker has begun it."""
        return self.threads.submit(self._run, case, sources, limit_s)

    def _run(self, case: Case, sources: Sequence[str], limit_s: float) -> Record:
        worker = self.idle.get()
        try:
            record, _ = worker.measure(case, self.env, self.root, sources=sources, limit_s=limit_s)
            return record
        finally:
            self.idle.put(worker)

    def close(self) -> None:
        for worker in self.workers:
            worker.kill()
        self.threads.shutdown(cancel_futures=True)
        for worker in self.workers:
            worker.close()
