"""The parent's end of a worker: asks a line, reads a line."""

import sys
from typing import Any, NamedTuple

from benchmarks.process import Child, Ended


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
        self.child = Child("benchmarks.peers._worker", OMP_NUM_THREADS="1")
        self.child.tell(job)

    def ask(self, **what: Any) -> dict[str, Any]:
        """Raises OutOfMemory if that is the answer; Failed, after printing what the process said,
        if it has ended."""
        try:
            found = self.child.ask(what)
        except Ended as ended:
            sys.stderr.write(ended.said)
            raise Failed(f"a side's process ended: {ended.reason}") from None
        if "out_of_memory" in found:
            raise OutOfMemory(self, found["out_of_memory"])
        return found

    def sample(self) -> Sample:
        return Sample(**self.ask(what="step"))

    def close(self) -> None:
        self.child.close()
