"""Sweeps of a copy of this checkout, as tests start them, and what they leave behind."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import results
from results import Record

ROOT = Path(__file__).parents[1]
MARK = "SEQFRONTIER_TEST_SWEEP"  # in the environment of all that a sweep starts
LABEL = "box"
DYING_S = 20.0  # that a process may take to notice that the sweep is over


def checkout(folder: Path, **architectures: str) -> Path:
    """A copy of this one in `folder`, without Records, with these sources in archs/ besides."""
    for part in ("archs", "benchmarks", "report", "tests"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "results").mkdir()
    for path in (ROOT / "results").glob("*.py"):
        shutil.copy(path, folder / "results")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name, source in architectures.items():
        (folder / "archs" / f"{name}.py").write_text(source)
    return folder


@dataclass(frozen=True)
class Ran:
    code: int
    said: str
    left: tuple[str, ...]  # processes that outlived it


class Sweep:
    """One under way, of `checkout` into `root`."""

    def __init__(self, checkout: Path, root: Path, *asked: str, **environment: str) -> None:
        self.mark, self.output = str(uuid.uuid4()), tempfile.TemporaryFile("a+")  # noqa: SIM115
        # not a pipe, which whatever outlives the sweep would keep open
        command = [sys.executable, "-m", "pytest", "benchmarks", "-p", "no:cacheprovider"]
        command += ["--device", "cpu", "--label", LABEL, "--results", str(root), *asked]
        own = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", MARK: self.mark} | environment
        self.process = subprocess.Popen(
            command,
            cwd=checkout,
            env=os.environ | own,
            stdout=self.output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C can be sent to it as a terminal does
        )
        self.began_s = time.monotonic()

    def wait(self, limit_s: float = 600.0) -> Ran:
        """Raises subprocess.TimeoutExpired, with it killed, if it takes longer."""
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        end_s = time.monotonic() + DYING_S
        while (left := self._processes()) and time.monotonic() < end_s:
            time.sleep(0.02)
        said = self.said()
        self.output.close()
        return Ran(code, said, left)

    def said(self) -> str:
        """So far."""
        self.output.seek(0)  # for the sweep too, which appends all the same
        return self.output.read()

    def until(self, happened: Callable[[], object], limit_s: float = 300.0) -> None:
        """Returns once that has happened. Raises TimeoutError if the sweep is over before."""
        while not happened():
            if self.process.poll() is not None or self.age_s() > limit_s:
                raise TimeoutError(f"the sweep went on without it: {self.wait().said}")
            time.sleep(0.005)

    def age_s(self) -> float:
        return time.monotonic() - self.began_s

    def limit(self, what: int, most: int) -> None:
        """RLIMIT_* of it and of what it starts from now on."""
        resource.prlimit(self.process.pid, what, (most, most))

    def lowest_free_descriptor(self) -> int:
        taken = {int(path.name) for path in Path(f"/proc/{self.process.pid}/fd").iterdir()}
        return next(number for number in count() if number not in taken)

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def _processes(self) -> tuple[str, ...]:
        """What is alive and bears its mark."""
        alive, mark = [], f"{MARK}={self.mark}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
                    alive.append(f"{folder.name} {words.decode(errors='replace').strip()}")
            except OSError:  # gone meanwhile
                continue
        return tuple(alive)


def files(root: Path) -> dict[str, bytes]:
    """The content of each visible file of the label; of what is under way, nothing."""
    return {path.name: path.read_bytes() for path in sorted((root / LABEL).glob("*.json"))}


def read(root: Path) -> list[Record]:
    """Those that can be."""
    return results.load([LABEL], root).records if files(root) else []


def hidden(root: Path) -> list[str]:
    return sorted(path.name for path in (root / LABEL).glob(".*"))


def statuses(root: Path) -> Counter[str]:
    """How many Records say what; those that cannot be read, too."""
    if not files(root):
        return Counter()
    loaded = results.load([LABEL], root)
    count = Counter(record.status for record in loaded.records)
    return count + Counter(unreadable=len(loaded.unreadable))


def told(count: Counter[str]) -> str:
    return ", ".join(f"{number} {what}" for what, number in sorted(count.items())) or "none"


class NotHere(Exception):
    """A fault that cannot be put in on this machine; the message says why."""


class Disk:
    """A small file system of its own, which ends with it. Raises NotHere if there can be none."""

    def __init__(self, size: str = "1m") -> None:
        self.below = tempfile.mkdtemp()
        mount = f"mount -t tmpfs -o size={size} none {self.below} && echo"
        self.holder = subprocess.Popen(
            ["unshare", "--map-root-user", "--mount", "sh"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if not self._tell(mount):
            raise NotHere(f"no tmpfs can be mounted: {self.holder.communicate()[1].strip()}")
        self.path = Path(f"/proc/{self.holder.pid}/root{self.below}")

    def _tell(self, command: str) -> bool:
        assert self.holder.stdin is not None and self.holder.stdout is not None
        with suppress(BrokenPipeError):
            self.holder.stdin.write(f"{command} || exit 1\n")
            self.holder.stdin.flush()
        return bool(self.holder.stdout.readline())

    def fill(self) -> None:
        """To the last byte."""
        with (self.path / "ballast").open("wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                return

    def make_room(self) -> None:
        (self.path / "ballast").unlink()

    def mount(self, how: str) -> None:
        """`ro` or `rw`; waits for a file that is being written."""
        again = f"until mount -o remount,{how} {self.below}; do :; done; echo"
        assert self._tell(again)

    def __enter__(self) -> "Disk":
        return self

    def __exit__(self, *raised: object) -> None:
        self.holder.communicate()
        os.rmdir(self.below)
