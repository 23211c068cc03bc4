"""Where cells are measured on a cluster: one GPU, or one node without, and the processes on it.

Ray's actor and the element of Slurm's array are the same Seat. Whatever a cell does to its process
is its Record (benchmarks/isolation.py); what happens to the seat is for whoever dealt the cell.
"""

import os
import platform
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from queue import Empty, LifoQueue

import results
from archs._ops import KernelRefused
from benchmarks import isolation, machine
from benchmarks.claim import Claim
from benchmarks.cluster import node
from benchmarks.cluster.job import Answer, Job, is_timed
from benchmarks.isolation import Halt, Worker
from benchmarks.machine import Environment
from benchmarks.process import Ended
from benchmarks.training import checkpoint_path
from benchmarks.walls import Walls
from results import Case, Record
from results.schema import record_path

SUBMIT = ".submit.lock"  # in the folder of labels: one submit at a time, and its token


class Seat:
    """`open` comes first. `measure` may be called by as many threads as `job.pack` with training
    cells; a timed one is to be alone."""

    def __init__(self, job: Job) -> None:
        self.job, self.walls = job, Walls()
        self.workers: list[Worker] = []
        self.idle: LifoQueue[Worker] = LifoQueue()  # the last used is warm
        self.cores: dict[int, int] = {}
        self.claim: Claim | None = None

    def open(self) -> str:
        """Start, claim the label's folder, measure the ceilings; the label.

        Raises ValueError, in one sentence, if nothing can be measured here.
        """
        # what the machine that submits lends its own processes is not what this one lends
        os.environ.pop(machine.CORES, None)
        if not self._sees_what_submit_sees():
            raise ValueError(
                f"{platform.node()} does not see the folder {self.job.root} that submit writes; "
                "put --results on a file system that all nodes share"
            )
        on_cpu = self.job.device == "cpu"
        self.cores = node.own_cores(self.job.pack) if on_cpu else {}
        cores = list(self.cores) if on_cpu else [None] * self.job.pack
        self.workers = [Worker(self.job.device, core) for core in cores]
        for worker in reversed(self.workers):
            self.idle.put(worker)
        first = self.workers[0]
        try:
            asked = {"do": "environment", "device": self.job.device, "label": self.job.label}
            env = Environment(**first.ask(asked))
            self.claim = Claim(self.job.root / env.label, shared=True)
            node.hold_to_one_kind(self.claim.folder, machine.default_label(env.device, env.machine))
            for dtype in self.job.dtypes:
                env.ceilings.update(
                    first.ask({"do": "ceilings", "device": env.device, "dtype": dtype})
                )
        except (Ended, Halt) as error:
            raise ValueError(f"nothing can be measured on {platform.node()}: {error}") from None
        self.env: Environment = replace(env, machine=env.machine | {"node": platform.node()})
        return env.label

    def _sees_what_submit_sees(self) -> bool:
        with suppress(FileNotFoundError):
            return (self.job.root / SUBMIT).read_text() == self.job.token
        return False

    def measure(self, case: Case) -> Answer:
        """Its Record is saved, by now or by an earlier run. Raises Halt if none can be."""
        began, name = time.perf_counter(), str(case)
        try:
            if (had := self._had(case)) is not None:
                self.walls.note(had)
                return Answer(case=name, status="had", reason=None)
        except results.UnreadableRecord as error:
            return Answer(case=name, status="unreadable", reason=str(error))
        assert self.claim is not None
        if not self.claim.holds():
            raise Halt(f"{self.claim.folder} was removed meanwhile; submit this again")
        try:
            record = self._measure(case)
        except KernelRefused as error:
            return Answer(case=name, status="refused", reason=str(error))
        self.walls.note(record)
        took_s = time.perf_counter() - began
        return Answer(
            case=name,
            status=record.status,
            reason=record.reason,
            took_s=took_s,
            cell_s=record.took_s,
        )

    def _had(self, case: Case) -> Record | None:
        """An earlier run's Record; an error is no answer, nor what --fresh asks again."""
        path = record_path(case, self.env.label, self.job.root)
        if not path.exists():
            return None
        record = results.read(path)
        late = self.job.since is None or record.measured_at > self.job.since
        return record if late and record.status != "error" else None

    def _measure(self, case: Case) -> Record:
        if (beyond := self.walls.beyond(case, self.env)) is not None:
            return isolation.keep(beyond, self.job.root)
        worker = self.idle.get()
        try:
            if is_timed(case):
                self._rest()
            self._forget(case)
            record, _ = worker.measure(
                case,
                self.env,
                self.job.root,
                sources=self.job.sources,
                limit_s=self.job.limit_s,
            )
            return record
        finally:
            self.idle.put(worker)

    def _forget(self, case: Case) -> None:
        """What an earlier training left to go on with, if --fresh asks for it anew."""
        kept = checkpoint_path(record_path(case, self.env.label, self.job.root))
        if self.job.since is not None and kept.exists():
            saved = datetime.fromtimestamp(kept.stat().st_mtime, UTC)
            if saved < datetime.fromisoformat(self.job.since):
                kept.unlink()

    def _rest(self) -> None:
        """End the processes that idle, and what they hold of the GPU."""
        resting = []
        with suppress(Empty):
            while True:
                resting.append(self.idle.get_nowait())
        for worker in reversed(resting):
            worker.close()
            self.idle.put(worker)

    def kill(self) -> None:
        """Whatever it measures; a thread that waits for it gets Halt."""
        for worker in self.workers:
            worker.kill()

    def close(self) -> None:
        """Nobody may be asking it."""
        for worker in self.workers:
            worker.close()
        if self.claim is not None:
            self.claim.release()
        for held in self.cores.values():
            os.close(held)


def now() -> str:
    """As Records say when they were measured."""
    return datetime.now(UTC).isoformat(timespec="seconds")
