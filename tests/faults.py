"""Faults put into sweeps, and what came of each: `python -m tests.faults`.

Prints a table in Markdown, a row a fault, and exits with 1 if a promise was broken. Promised is:
every finished Record stays as it is, nothing half written is left after the next run, no process
outlives the sweep, the next run completes what can be completed, and the sweep says what happened
in one sentence, with an exit code that fits; a traceback is shown only where one raised.
"""

import argparse
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from tests.sweeps import (
    LABEL,
    Disk,
    NotHere,
    Ran,
    Sweep,
    checkout,
    files,
    hidden,
    read,
    statuses,
    told,
)

SEED = 0
SOUND = ["--arch", "rnn,lstm", "--phase", "decode", "--seq-len", "16,32"]
FAKETIME = "*/faketime/libfaketimeMT.so.1"  # Debian's package faketime
# an architecture that does well but for what its forward is made to do first
SOURCE = '''"""An Elman network with a fault."""

import ctypes
import os
import signal
import time

import torch

from archs import rnn
from archs.rnn import SIZES, Config, State


class Block(rnn.Block):
    calls, kept, done = 0, [], False

    def forward(self, x_BTD, state):
        Block.calls += 1
        {fault}
        return super().forward(x_BTD, state)
'''
SOUND_SOURCE = SOURCE.format(fault="pass")


@dataclass(frozen=True)
class Faulty:
    fault: str  # a statement of its forward
    status: str
    reason: str
    called: str


GIB = "torch.empty(2**28)"  # float32; nobody writes to it, so it takes up addresses only
MEMORY_BYTES = 12 * 2**30  # of addresses, for each process
FAULTY = {
    "hangs": Faulty(
        "time.sleep(3600)",
        "timeout",
        "no answer after 37.5 s: its process was ended",
        "an architecture that hangs",
    ),
    "segfaults": Faulty(
        "ctypes.string_at(0)",
        "error",
        "its process ended by SIGSEGV (Segmentation fault)",
        "an architecture that segfaults",
    ),
    "is_killed": Faulty(
        "os.kill(os.getpid(), signal.SIGKILL)",
        "error",
        "its process ended by SIGKILL (Killed)",
        "a process killed from outside",
    ),
    "computes_nan": Faulty(
        "x_BTD = x_BTD * torch.nan",
        "diverged",
        "the logits are not finite after the first step",
        "an architecture that computes NaN",
    ),
    "raises": Faulty(
        "1 / (Block.calls - 3)",
        "error",
        "ZeroDivisionError: division by zero",
        "an architecture that raises at its third call",
    ),
    "prints": Faulty(
        r"""os.write(1, b'\xff\n{"spent_s": {}}\n'); print('{"refused": "no"}')""",
        "ok",
        "",
        "an architecture that prints what looks like an answer",
    ),
    "opens_files": Faulty(
        "Block.kept.append(os.open(os.devnull, 0))",
        "error",
        "OSError: [Errno 24] Too many open files",
        "an architecture that leaks file descriptors",
    ),
    "leaks": Faulty(
        f"Block.kept.append({GIB})",
        "oom",
        "can't allocate memory",
        "an architecture that leaks memory",
    ),
}
# leaves a part of one GiB, and the next cell of its process needs a whole one
HOARDING = {
    "hoards": f"""
        try:
            while not Block.done:
                Block.kept.append({GIB})
        except RuntimeError:
            Block.done = True""",
    "needs_a_gib": GIB,
}
# hours back, hours on, further back, at every tenth call, so between and within timed steps; and
# years back as soon as memory is traced, which the wall clock orders
SETS_THE_CLOCK = """
        traced = torch.autograd.profiler._is_profiler_enabled and not Block.done
        if traced or Block.calls % 10 == 0:
            hours = Block.calls * (-1) ** (Block.calls // 10) - 20_000 * traced
            Block.done |= traced
            with open(os.environ["FAKETIME_TIMESTAMP_FILE"], "r+b") as told:
                told.write(b"%+08dh" % hours)"""


@dataclass(frozen=True)
class Outcome:
    fault: str
    code: str
    said: str
    kept: Counter[str]
    then: Counter[str]
    broken: tuple[str, ...]

    def row(self) -> str:
        promises = "kept" if not self.broken else "BROKEN: " + "; ".join(self.broken)
        return line(self.fault, self.code, self.said, told(self.kept), told(self.then), promises)


def line(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


HEADER = """\
| fault | exit code | what the sweep says | Records after it | and after the next run | promises |
|:--|--:|:--|:--|:--|:--|"""


class Watch:
    """Of one results folder: which promises were seen to be broken, in words."""

    def __init__(self, root: Path) -> None:
        self.root, self.broken = root, list[str]()

    def hold(self, promise: bool, otherwise: str) -> None:
        if not promise:
            self.broken.append(otherwise)

    def ended(self, ran: Ran, code: int, *sentences: str, traceback: bool = False) -> None:
        self.hold(ran.code == code, f"exit code {ran.code}, not {code}: {_tail(ran.said)}")
        for sentence in sentences:
            self.hold(sentence in ran.said, f"does not say {sentence!r}: {_tail(ran.said)}")
        shown = "Traceback" in ran.said or "INTERNALERROR" in ran.said
        self.hold(shown == traceback, f"{'a' if shown else 'no'} traceback: {_tail(ran.said)}")
        self.hold(not ran.left, f"left running: {', '.join(ran.left)}")

    def intact(self, before: dict[str, bytes], unreadable: int = 0) -> None:
        now = files(self.root)
        for name, content in before.items():
            self.hold(now.get(name) == content, f"{name} is {'changed' if name in now else 'gone'}")
        found = statuses(self.root)["unreadable"]
        self.hold(found == unreadable, f"{found} files are no Record")

    def resumed(self, ran: Ran, expected: set[str], code: int = 0) -> None:
        self.ended(ran, code)
        missing = expected ^ set(files(self.root))
        self.hold(not missing, f"missing or too many: {', '.join(sorted(missing))}")
        self.hold(not hidden(self.root), f"left behind: {', '.join(hidden(self.root))}")


def _tail(said: str) -> str:
    return " / ".join(line for line in said.splitlines() if line.strip())[-600:]


def decode(archs: str, *lengths: int) -> set[str]:
    """The file names of those cells."""
    return {
        f"decode-{arch}-100k-T{length}-B1-float32-s0.json"
        for arch in archs.split(",")
        for length in lengths or (16, 32)
    }


class Bench:
    """Where faults are put in: a checkout with the architectures above, and room for results."""

    def __init__(self, folder: Path) -> None:
        sources = {name: SOURCE.format(fault=faulty.fault) for name, faulty in FAULTY.items()}
        others = HOARDING | {"sets_the_clock": SETS_THE_CLOCK}
        sources |= {name: SOURCE.format(fault=fault) for name, fault in others.items()}
        self.folder, self.checkout = folder, checkout(folder / "checkout", **sources)

    def root(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.folder))

    def sweep(self, root: Path, *asked: str, **environment: str) -> Sweep:
        return Sweep(self.checkout, root, *asked, **environment)

    def swept(self, root: Path, *asked: str, **environment: str) -> Ran:
        return self.sweep(root, *asked, **environment).wait()

    def mend(self, *names: str) -> None:
        for name in names:
            (self.checkout / "archs" / f"{name}.py").write_text(SOUND_SOURCE)

    def finished(self, root: Path) -> None:
        """Measure SOUND once, into `root`; the same Records each time."""
        whole = self.folder / "finished"
        if not whole.exists():
            ran = self.swept(whole, *SOUND)
            assert ran.code == 0 and set(files(whole)) == decode("rnn,lstm"), ran.said
        shutil.copytree(whole, root, dirs_exist_ok=True)


def sigkill(bench: Bench, kills: int = 50) -> Iterator[Outcome]:
    """At moments drawn over the whole life of a sweep; each time the next run goes on."""
    text = bench.folder / "text.txt"
    text.write_bytes(random.Random(SEED).randbytes(2**16).hex().encode())
    asked = ["--arch", "rnn,lstm", "--phase", "decode,quality", "--seq-len", "16,32"]
    asked += ["--tokens", "16384", "--corpus", str(text)]
    whole = bench.root()
    first = bench.sweep(whole, *asked)
    ran = first.wait()
    life_s, expected = first.age_s(), set(files(whole))
    assert ran.code == 0 and len(expected) == 6, ran.said
    moments, done, measuring = random.Random(SEED), 0, 0
    root = bench.root()
    watch, seen = Watch(root), dict[str, bytes]()
    while done < kills:
        sweep = bench.sweep(root, *asked)
        time.sleep(moments.uniform(0, life_s))
        sweep.process.kill()
        ran = sweep.wait()
        if ran.code == 0:  # it was done before
            watch.resumed(ran, expected)
            watch.intact(seen)
            shutil.rmtree(root / LABEL)
            seen = {}
            continue
        done += 1
        watch.hold(not ran.left, f"left running: {', '.join(ran.left)}")
        watch.intact(seen)
        measuring += "collected" in ran.said
        seen = files(root)
    kept = statuses(root)
    watch.resumed(bench.swept(root, *asked), expected)
    watch.intact(seen)
    yield Outcome(
        f"SIGKILL at {kills} random moments, {measuring} of them while cells were measured",
        "-9",
        "",
        kept,
        statuses(root),
        tuple(watch.broken),
    )


def disk_full(bench: Bench) -> Iterator[Outcome]:
    fault, sentence = "a full disk", "results cannot be kept: No space left on device"
    with Disk() as disk:
        root = disk.path / "results"
        watch, sweep = Watch(root), bench.sweep(root, *SOUND)
        sweep.until(partial(files, root))
        disk.fill()
        before, ran = files(root), sweep.wait()
        watch.ended(ran, 1, sentence)
        watch.intact(before)
        kept = statuses(root)
        disk.make_room()
        watch.resumed(bench.swept(root, *SOUND), decode("rnn,lstm"))
        watch.intact(before)
        yield Outcome(fault, f"{ran.code}", sentence, kept, statuses(root), tuple(watch.broken))


def read_only(bench: Bench) -> Iterator[Outcome]:
    sentence = "results cannot be kept: Read-only file system"
    refusal = "Read-only file system; use --results DIR with a folder you may write"
    with Disk() as disk:
        root = disk.path / "results"
        watch, sweep = Watch(root), bench.sweep(root, *SOUND)
        sweep.until(partial(files, root))
        disk.mount("ro")
        before, ran = files(root), sweep.wait()
        watch.ended(ran, 1, sentence)
        watch.intact(before)
        kept = statuses(root)
        refused = Watch(root)
        again = bench.swept(root, *SOUND)
        refused.ended(again, 4, refusal)
        refused.intact(before)
        disk.mount("rw")
        watch.resumed(bench.swept(root, *SOUND), decode("rnn,lstm"))
        watch.intact(before)
        then = statuses(root)
        called = "results that become read-only"
        yield Outcome(called, f"{ran.code}", sentence, kept, then, tuple(watch.broken))
        called = "results that are read-only"
        yield Outcome(called, f"{again.code}", refusal, kept, then, tuple(refused.broken))


def clock(bench: Bench) -> Iterator[Outcome]:
    root, sound, told_time = bench.root(), bench.root(), bench.folder / "clock"
    bench.finished(sound)
    asked = ["--arch", "sets_the_clock", *SOUND[2:]]
    told_time.write_text("+0000000h")
    library = next(iter(Path("/usr/lib").glob(FAKETIME)), None)
    if library is None:
        raise NotHere("the package faketime is not installed")
    sweep = bench.sweep(
        root,
        *asked,
        LD_PRELOAD=str(library),
        FAKETIME_TIMESTAMP_FILE=str(told_time),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    watch, ran = Watch(root), sweep.wait()
    watch.ended(ran, 0)
    before, kept = files(root), statuses(root)
    peaks = {r.case.seq_len: r.peak_bytes for r in read(sound) if r.case.arch == "rnn"}
    for record in read(root):
        off = datetime.fromisoformat(record.measured_at) - datetime.now(UTC)
        watch.hold(abs(off) > timedelta(hours=1), f"{record.case}: the clock was not set")
        watch.hold(record.status == "ok", f"{record.case} is {record.status}")
        steps_s, took_s = record.step_s or (0.0,), record.took_s or 0.0
        watch.hold(
            min(steps_s) > 0 and sum(steps_s) < took_s < sweep.age_s(),
            f"{record.case} took {took_s:.3g} s, of it steps {sum(steps_s):.3g} s",
        )
        expected = peaks[record.case.seq_len]
        watch.hold(
            record.peak_bytes == expected,
            f"the peak of {record.case} is {record.peak_bytes} bytes, not {expected}",
        )
    watch.resumed(bench.swept(root, *asked), decode("sets_the_clock"))
    watch.intact(before)
    yield Outcome(
        "a clock set back and on by hours, again and again",
        f"{ran.code}",
        "",
        kept,
        statuses(root),
        tuple(watch.broken),
    )


def broken_records(bench: Bench) -> Iterator[Outcome]:
    root = bench.root()
    bench.finished(root)
    whole = files(root)
    named = dict(zip(("truncated", "garbage", "zero-byte"), sorted(whole), strict=False))
    contents = {
        "truncated": whole[named["truncated"]][:100],
        "garbage": random.Random(SEED).randbytes(5000),
        "zero-byte": b"",
    }
    for kind, name in named.items():
        (root / LABEL / name).write_bytes(contents[kind])
    before = files(root)
    one_more = ["--arch", "rnn,lstm,gru", *SOUND[2:]]
    ran = bench.swept(root, *one_more)
    watches = {kind: Watch(root) for kind in named}
    for kind, name in named.items():
        watches[kind].ended(ran, 1, f"{root / 'box' / name} is not a readable Record")
        watches[kind].intact(before, unreadable=3)
    kept = statuses(root)
    for name in named.values():
        (root / LABEL / name).unlink()
        before.pop(name)
    again = bench.swept(root, *one_more)
    for kind, watch in watches.items():
        watch.resumed(again, decode("rnn,lstm,gru"))
        watch.intact(before)
        yield Outcome(
            f"a {kind} Record",
            f"{ran.code}",
            "…json is not a readable Record (…); delete it and measure that case again",
            kept,
            statuses(root),
            tuple(watch.broken),
        )


def two_at_once(bench: Bench) -> Iterator[Outcome]:
    root, refusal = bench.root(), "another sweep is measuring into"
    watch = Watch(root)
    sweeps = [bench.sweep(root, *SOUND) for _ in range(2)]
    first, second = sorted((sweep.wait() for sweep in sweeps), key=lambda ran: ran.code)
    watch.ended(first, 0)
    watch.ended(second, 4, refusal)
    before = files(root)
    watch.intact(before)
    kept = statuses(root)
    watch.resumed(bench.swept(root, *SOUND), decode("rnn,lstm"))
    watch.intact(before)
    yield Outcome(
        "two sweeps on one label at once",
        f"{first.code} and {second.code}",
        f"{refusal} …; wait for it, or give this one a --label of its own",
        kept,
        statuses(root),
        tuple(watch.broken),
    )


def architectures(bench: Bench, names: Sequence[str] = tuple(FAULTY)) -> Iterator[Outcome]:
    """Each faulty one beside a sound one in one sweep; then all are mended."""
    root, sound = bench.root(), decode("rnn", 16)
    asked = ["--arch", ",".join(["rnn", *names]), "--phase", "decode", "--seq-len", "16"]
    asked += ["--timeout", "30"]  # and a quarter of that besides
    sweep = bench.sweep(root, *asked)
    sweep.limit(resource.RLIMIT_NOFILE, 256)
    sweep.limit(resource.RLIMIT_AS, MEMORY_BYTES)
    ran = sweep.wait()
    first = files(root)
    records = {record.case.arch: record for record in read(root)}
    bench.mend(*(name for name in names if FAULTY[name].status == "error"))
    again = bench.swept(root, *asked)
    for name in names:
        faulty, watch = FAULTY[name], Watch(root)
        own = decode(name, 16)
        watch.ended(ran, 1, faulty.reason, traceback=True)
        record = records.get(name)
        seen = (record.status, record.reason or "") if record else ("no Record", "")
        as_told = seen[0] == faulty.status and faulty.reason in seen[1]
        watch.hold(as_told, f"its Record says {': '.join(seen)}")
        stays = sound | (set() if faulty.status == "error" else own)
        watch.intact({name: content for name, content in first.items() if name in stays})
        watch.resumed(again, sound | decode(",".join(names), 16))
        then = [r for r in read(root) if r.case.arch == name]
        mended = faulty.status if faulty.status != "error" else "ok"
        watch.hold([r.status for r in then] == [mended], f"then {[r.status for r in then]}")
        yield Outcome(
            faulty.called,
            f"{ran.code}",
            f"{faulty.status}: {faulty.reason}" if faulty.reason else faulty.status,
            Counter([seen[0]]),
            Counter(r.status for r in then),
            tuple(watch.broken),
        )


def memory(bench: Bench) -> Iterator[Outcome]:
    root = bench.root()
    asked = ["--arch", ",".join(HOARDING), *SOUND[2:]]
    sweep = bench.sweep(root, *asked)
    sweep.limit(resource.RLIMIT_AS, MEMORY_BYTES)
    ran = sweep.wait()
    before, kept = files(root), statuses(root)
    watch = Watch(root)
    watch.ended(ran, 0)
    watch.hold(kept == {"ok": 4}, f"Records: {told(kept)}")
    watch.resumed(bench.swept(root, *asked), decode(",".join(HOARDING)))
    watch.intact(before)
    yield Outcome(
        "an architecture that leaks most of memory, then one that needs it",
        f"{ran.code}",
        "",
        kept,
        statuses(root),
        tuple(watch.broken),
    )


def descriptors(bench: Bench) -> Iterator[Outcome]:
    """The sweep itself can open nothing more, once its first cell is done."""
    root, sentence = bench.root(), "Too many open files"
    watch, sweep = Watch(root), bench.sweep(root, *SOUND)
    sweep.until(lambda: "[1/4]" in sweep.said())  # what it had open to keep the first is closed
    sweep.limit(resource.RLIMIT_NOFILE, sweep.lowest_free_descriptor())
    ran = sweep.wait()
    before, kept = files(root), statuses(root)
    watch.ended(ran, 1, sentence)
    watch.intact(before)
    watch.resumed(bench.swept(root, *SOUND), decode("rnn,lstm"))
    watch.intact(before)
    yield Outcome(
        "no file descriptor left for the sweep itself",
        f"{ran.code}",
        sentence,
        kept,
        statuses(root),
        tuple(watch.broken),
    )


def interrupted(bench: Bench, pauses_s: tuple[float, ...] = (0.0, 0.05, 0.3)) -> Iterator[Outcome]:
    for pause_s in pauses_s:
        root, sentence = bench.root(), "KeyboardInterrupt"
        watch, sweep = Watch(root), bench.sweep(root, *SOUND)
        sweep.until(partial(files, root))
        before = files(root)
        for wait_s in (0.0, pause_s):
            time.sleep(wait_s)
            sweep.interrupt()
        ran = sweep.wait(30.0)
        watch.ended(ran, 2, sentence)
        watch.intact(before)
        kept = statuses(root)
        watch.resumed(bench.swept(root, *SOUND), decode("rnn,lstm"))
        watch.intact(before)
        yield Outcome(
            f"Ctrl-C twice, {pause_s:g} s apart",
            f"{ran.code}",
            sentence,
            kept,
            statuses(root),
            tuple(watch.broken),
        )


def removed(bench: Bench) -> Iterator[Outcome]:
    root = bench.root()
    watch, sweep = Watch(root), bench.sweep(root, *SOUND)
    sweep.until(lambda: "[1/4]" in sweep.said())  # and the second is under way
    shutil.rmtree(root)
    ran = sweep.wait()
    before, kept = files(root), statuses(root)
    sentence = f"{root / LABEL} was removed meanwhile; run this again"
    watch.ended(ran, 1, sentence)
    watch.intact(before)
    watch.resumed(bench.swept(root, *SOUND), decode("rnn,lstm"))
    watch.intact(before)
    yield Outcome(
        "the results folder removed meanwhile",
        f"{ran.code}",
        "… was removed meanwhile; run this again",
        kept,
        statuses(root),
        tuple(watch.broken),
    )


FAULTS: dict[str, Callable[[Bench], Iterator[Outcome]]] = {
    "sigkill": sigkill,
    "disk-full": disk_full,
    "read-only": read_only,
    "clock": clock,
    "broken-records": broken_records,
    "two-at-once": two_at_once,
    "architectures": architectures,
    "memory": memory,
    "descriptors": descriptors,
    "ctrl-c": interrupted,
    "removed": removed,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs (default: 50)")
    parser.add_argument("--only", choices=FAULTS, action="append", help="this one, or these")
    options = parser.parse_args()
    broken, faults = False, FAULTS | {"sigkill": partial(sigkill, kills=options.kills)}
    print(HEADER, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for name in options.only or faults:
            try:
                for outcome in faults[name](bench):
                    print(outcome.row(), flush=True)
                    broken |= bool(outcome.broken)
            except NotHere as error:
                print(line(name, "", "", "", "", f"not put in: {error}"), flush=True)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
