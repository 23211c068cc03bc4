"""A child process that answers a line with a line, and what is known when it does not.

`python -m benchmarks.process MODULE ARGUMENTS` is such a child: it calls the module's `main` with
where its answers go, and the arguments.
"""

import ctypes
import importlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Literal, TextIO

ROOT = Path(__file__).parents[1]
PR_SET_PDEATHSIG = 1  # linux/prctl.h
REASON_CHARACTERS = 500
ENDING_S = 10.0  # that a child which hangs up may take to end
LOADING_S = 600.0  # that a child may take to import its module, on whatever file system


class Ended(Exception):
    """A child that will not answer any more: it crashed, was killed, or took too long.

    `reason` is one sentence; `said` is what it printed to stderr, its traceback at the end.
    """

    def __init__(self, status: Literal["error", "oom", "timeout"], reason: str, said: str) -> None:
        super().__init__(reason)
        self.status, self.reason, self.said = status, reason, said


class Child:
    """A module's `main(answers, *arguments)` in a process group of its own: what ends the parent by
    Ctrl-C does not reach it, and what it starts ends with it."""

    def __init__(self, module: str, *arguments: str, **environment: str) -> None:
        """Raises OSError if no process can be started."""
        self.stderr: IO[bytes] = tempfile.TemporaryFile("a+b")  # noqa: SIM115
        self.unread, self.loaded = b"", False
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.stderr,
                bufsize=0,
                cwd=ROOT,
                env=os.environ | environment,
                start_new_session=True,
            )
        except OSError:
            self.stderr.close()
            raise

    def tell(self, job: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):  # then there is no answer to read either
            self.process.stdin.write(json.dumps(job).encode() + b"\n")

    def load(self) -> None:
        """Wait until it is. Raises Ended, with the child gone, if it ends before."""
        if not self.loaded:
            self._answer(LOADING_S, _out_of_memory_kills())
            self.loaded = True

    def ask(self, job: dict[str, Any], limit_s: float | None = None) -> dict[str, Any]:
        """Its answer. Raises Ended, with the child gone, if there is none `limit_s` after it was
        loaded and asked."""
        self.load()
        killed_before = _out_of_memory_kills()
        self.tell(job)
        return self._answer(limit_s, killed_before)

    def _answer(self, limit_s: float | None, killed_before: int | None) -> dict[str, Any]:
        line = self._line(limit_s)
        if line:
            sys.stderr.write(self._said())
            answer: dict[str, Any] = json.loads(line)
            return answer
        if line is None:
            self.kill()
        code = self._exit_status()
        said = self._said()
        self.close()
        if line is None:
            raise Ended("timeout", f"no answer after {limit_s:g} s: its process was ended", said)
        if code == -signal.SIGKILL and killed_before != _out_of_memory_kills():
            raise Ended("oom", "memory ran out, and the system ended its process", said)
        raise Ended("error", _why(code, said), said)

    def _line(self, limit_s: float | None) -> bytes | None:
        """The next line; empty once the child has ended; None if it is late."""
        assert self.process.stdout is not None
        end_s = None if limit_s is None else time.monotonic() + limit_s
        while b"\n" not in self.unread:
            left_s = None if end_s is None else max(0.0, end_s - time.monotonic())
            if not select.select([self.process.stdout], [], [], left_s)[0]:
                return None
            more = self.process.stdout.read(2**16)
            if not more:
                return b""
            self.unread += more
        line, _, self.unread = self.unread.partition(b"\n")
        return line

    def _said(self) -> str:
        """What it printed to stderr since this was last asked."""
        self.stderr.seek(0)
        said = self.stderr.read()
        self.stderr.truncate(0)
        return said.decode(errors="replace")

    def _exit_status(self) -> int:
        """Of a child that answers no more; what it started ends with it."""
        try:
            code = self.process.wait(ENDING_S)
        except subprocess.TimeoutExpired:  # it only closed its end
            self.kill()
            code = self.process.wait()
        self._kill_group()
        return code

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def kill(self) -> None:
        """End it, if it has not ended, and all that it started."""
        if self.process.poll() is None:
            self._kill_group()

    def close(self) -> None:
        """End it, and let go of it."""
        self.kill()
        with suppress(BrokenPipeError), self.process:
            self.stderr.close()


def _why(code: int, said: str) -> str:
    """Of an exit status: the signal, or the exception that the traceback ends with."""
    if code < 0:
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"its process ended by {name} ({signal.strsignal(-code)})"
    # a message of several lines ends a traceback too: its first line has the exception's name
    raised = re.findall(r"^(?!Traceback|Exception ignored)[\w.]+(?::.*)?$", said, re.MULTILINE)
    last = raised[-1] if raised else said.strip().rpartition("\n")[2]
    return last[:REASON_CHARACTERS] or f"its process ended with exit status {code}"


def _out_of_memory_kills() -> int | None:
    """Processes that the kernel has ended for want of memory; None where it does not say."""
    counters = Path("/proc/vmstat")
    if not counters.exists():
        return None
    counted = re.search(r"^oom_kill (\d+)$", counters.read_text(), re.MULTILINE)
    return int(counted[1]) if counted else None


def serve() -> TextIO:
    """Called by a child, first of all: where its answers go.

    What its code prints must not be taken for an answer: from here on stdout is stderr. It ends
    with its parent, even one that is killed, and is the first to go if memory runs out.
    """
    answers = open(os.dup(1), "w", buffering=1)  # noqa: SIM115
    os.dup2(2, 1)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        with suppress(PermissionError):
            Path("/proc/self/oom_score_adj").write_text("1000")
    return answers


def main() -> None:
    answers = serve()
    stdin = select.poll()
    stdin.register(0, 0)  # for what is always told: that nobody can write to it any more
    if stdin.poll(0):
        sys.exit("the process that asked ended before this one would have noticed")
    module = importlib.import_module(sys.argv[1])
    print(json.dumps({"loaded": module.__name__}), file=answers)
    module.main(answers, *sys.argv[2:])


if __name__ == "__main__":
    main()
