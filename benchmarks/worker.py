"""Training on the cores that timing leaves free: one process a core, one case at a time.

`python -m benchmarks.worker CORE` reads a job a line and answers with a line: the case, once its
Record is saved, or why a kernel was refused. It ends when its input does, so a killed sweep leaves
no orphan past its running case, and that case's Record is still saved whole.
"""

import json
import os
import queue
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch

from archs._ops import KernelRefused
from benchmarks import corpus, harness, machine
from benchmarks.machine import Environment
from benchmarks.training import checkpoint_path
from results import Case


class TrainingPool:
    """Quality cases run here while the main process times the others on a core of its own."""

    def __init__(self, cores: Sequence[int], env: Environment, root: Path) -> None:
        self.env, self.root = env, root
        self.idle: queue.SimpleQueue[int] = queue.SimpleQueue()  # cores
        self.threads = ThreadPoolExecutor(len(cores))
        self.workers = {core: self._start(core) for core in cores}
        for core in cores:
            self.idle.put(core)

    def _start(self, core: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", str(core)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=Path(__file__).parents[1],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def submit(self, case: Case, sources: Sequence[str], limit_s: float) -> Future[None]:
        """Done once the Record is saved. `cancel()` succeeds only if no worker has begun it."""
        job = {
            "case": asdict(case),
            "env": asdict(self.env),
            "root": str(self.root),
            "corpus": list(sources),
            "limit_s": limit_s,
        }
        return self.threads.submit(self._run, job, case)

    def _run(self, job: dict[str, object], case: Case) -> None:
        core = self.idle.get()
        worker = self.workers[core]
        assert worker.stdin is not None and worker.stdout is not None
        try:
            worker.stdin.write(json.dumps(job) + "\n")
            answer = worker.stdout.readline().strip()
        except BrokenPipeError:
            answer = ""
        if not answer:
            # the core must not be lost with its process, or the next case would wait for ever
            code, self.workers[core] = _end(worker), self._start(core)
        self.idle.put(core)
        if not answer:
            # the worker's own traceback is on stderr
            raise RuntimeError(f"{case}: its training process ended with {code}")
        if answer != str(case):
            raise KernelRefused(answer)

    def close(self) -> None:
        self.threads.shutdown(wait=False, cancel_futures=True)
        for worker in self.workers.values():
            worker.kill()
            _end(worker)


def _end(worker: subprocess.Popen[str]) -> int:
    """Wait for a process that is ending, and close what led to it."""
    # a job it never read is flushed now, to nobody
    with suppress(BrokenPipeError), worker:
        pass
    return worker.wait()


def main() -> None:
    torch.set_num_threads(1)
    machine.settle()
    if sys.platform == "linux":
        os.sched_setaffinity(0, {int(sys.argv[1])})
    for line in sys.stdin:
        job = json.loads(line)
        case, root = Case(**job["case"]), Path(job["root"])
        try:
            record = harness.measure(
                case,
                Environment(**job["env"]),
                corpus=corpus.load(job["corpus"], case.tokenizer) if case.corpus else None,
                root=root,
                limit_s=job["limit_s"],
            )
        except KernelRefused as error:
            print(error, flush=True)
            continue
        record.save(root)
        checkpoint_path(record.path(root)).unlink(missing_ok=True)
        print(case, flush=True)


if __name__ == "__main__":
    main()
