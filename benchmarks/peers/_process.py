"""The parent's end of a worker: asks a line, reads a line."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple


class Failed(ValueError):
    """A pair that cannot be compared; the message says why."""


class OutOfMemory(Failed):
    """A side's step did not fit."""

    def __init__(self, worker: "Worker", reason: str) -> None:
        super().__init__(reason)
        self.worker = worker


class Sample(NamedTuple):
    seconds: float
    nats: float  # the loss
    seen: list[float]  # what a wrong model would not have: training's gradient, decode's logits


class Worker:
    """The process of one side, to which `job` is its first line."""

    def __init__(self, job: dict[str, Any]) -> None:
        # closed in close(), with the process
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers._worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            text=True,
            bufsize=1,
            cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self._write(job)

    def _write(self, line: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line) + "\n")

    def ask(self, **what: Any) -> dict[str, Any]:
        """Raises OutOfMemory if that is the answer; Failed, after printing what the process said,
        if it has ended."""
        assert self.process.stdout is not None
        try:
            self._write(what)
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            self.process.wait()
            self.said.seek(0)
            said = self.said.read()
            sys.stderr.write(said)
            raise Failed(f"a side's process ended: {said.strip().rpartition(chr(10))[2]}")
        found: dict[str, Any] = json.loads(answer)
        if "out_of_memory" in found:
            raise OutOfMemory(self, found["out_of_memory"])
        return found

    def sample(self) -> Sample:
        return Sample(**self.ask(what="step"))

    def close(self) -> None:
        self.process.kill()
        # what was written and not read is flushed now, to nobody
        with suppress(BrokenPipeError), self.process:
            self.said.close()
