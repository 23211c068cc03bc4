"""Faults put into sweeps, and what came of each: `python -m tests.faults [--kills N] [--only NAME]`.

Prints a table in Markdown, a row a fault, and exits with 1 if a promise was broken. Promised is:
every finished Record stays as it is, nothing half written is left after the next run, no process
outlives the sweep, the next run completes what can be completed, and the sweep says what happened
in one sentence, with an exit code that fits.
"""

import argparse
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import results
from tests.sweeps import Disk, Ran, Sweep, checkout, files, hidden, statuses, told

SEED = 0
SOUND = ["--arch", "rnn,lstm", "--phase", "decode", "--seq-len", "16,32"]
FAKETIME = "/usr/lib/*/faketime/libfaketimeMT.so.1"  # Debian's package faketime
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
    calls, kept = 0, []

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


FAULTY = {
    "hangs": Faulty(
        "time.sleep(3600)",
        "timeout",
        "no answer after 15 s: its process was ended",
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
        "Block.kept += [os.open(os.devnull, 0) for _ in range(100)]",
        "error",
        "OSError: [Errno 24] Too many open files",
        "an architecture that opens files until there can be no more",
    ),
}
"""#: and with what memory there is"""
GIB = "torch.empty(2**28)"  # float32; nobody writes to it, so it takes up addresses only
MEMORY_BYTES = 12 * 2**30
LEAKING = {
    "leaks": f"Block.kept.append({GIB})",
    # all but a part of one GiB
    "hoards": f"""
        try:
            while Block.calls < 2**30:
                Block.kept.append({GIB})
        except RuntimeError:
            Block.calls = 2**30""",
    "needs_a_gib": GIB,
}


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
        cells = (self.fault, self.code, self.said, told(self.kept), told(self.then), promises)
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
        sources |= {name: SOURCE.format(fault=fault) for name, fault in LEAKING.items()}
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


def sigkill(bench: Bench, kills: int) -> Iterator[Outcome]:
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
    moments, done, struck = random.Random(SEED), 0, 0
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
            shutil.rmtree(root / "box")
            seen = {}
            continue
        done += 1
        watch.hold(not ran.left, f"left running: {', '.join(ran.left)}")
        watch.intact(seen)
        struck += len(files(root)) > len(seen)
        seen = files(root)
    kept = statuses(root)
    watch.resumed(bench.swept(root, *asked), expected)
    watch.intact(seen)
    yield Outcome(
        f"SIGKILL at {kills} random moments, {struck} of them after a cell of that run was done",
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
        sweep.until(lambda: bool(files(root)))
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
        sweep.until(lambda: bool(files(root)))
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
    """An hour back, a day on, again and again, three times a second."""
    library = next(iter(sorted(Path("/").glob(FAKETIME[1:]))))
    root, sound, moved = bench.root(), bench.root(), bench.folder / "clock"
    bench.finished(sound)
    watch = Watch(root)
    moved.write_text("+0")
    sweep = bench.sweep(
        root,
        *SOUND,
        LD_PRELOAD=str(library),
        FAKETIME_TIMESTAMP_FILE=str(moved),
        FAKETIME_NO_CACHE="1",
        FAKETIME_DONT_FAKE_MONOTONIC="1",
    )
    hours = 0
    while sweep.process.poll() is None:
        hours += random.Random(hours).choice([-1, 24])
        moved.write_text(f"{hours * 3600:+d}")
        time.sleep(0.3)
    age_s, ran = sweep.age_s(), sweep.wait()
    watch.ended(ran, 0)
    kept = statuses(root)
    peaks = {r.case: r.peak_bytes for r in results.load(root=sound).records}
    for record in results.load(root=root).records:
        watch.hold(record.status == "ok", f"{record.case} is {record.status}")
        took_s = record.took_s or 0.0
        watch.hold(
            0 < sum(record.step_s) < took_s < age_s and min(record.step_s, default=0.0) > 0,
            f"{record.case} took {took_s:.3g} s, its steps {sum(record.step_s):.3g} s",
        )
        expected = peaks[record.case]
        watch.hold(
            record.peak_bytes == expected,
            f"{record.case} has its peak at {record.peak_bytes} bytes, not {expected}",
        )
    before = files(root)
    watch.resumed(bench.swept(root, *SOUND), decode("rnn,lstm"))
    watch.intact(before)
    yield Outcome(
        "a clock that jumps hours and days, back and on",
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
        (root / "box" / name).write_bytes(contents[kind])
    before = files(root)
    one_more = ["--arch", "rnn,lstm,gru", *SOUND[2:]]
    ran = bench.swept(root, *one_more)
    watches = {kind: Watch(root) for kind in named}
    for kind, name in named.items():
        watches[kind].ended(ran, 1, f"{root / 'box' / name} is not a readable Record")
        watches[kind].intact(before, unreadable=3)
    kept = statuses(root)
    for name in named.values():
        (root / "box" / name).unlink()
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


def architectures(bench: Bench) -> Iterator[Outcome]:
    """Each faulty one beside a sound one in one sweep; then all are mended."""
    root, sound = bench.root(), decode("rnn", 16)
    asked = ["--arch", ",".join(["rnn", *FAULTY]), "--phase", "decode", "--seq-len", "16"]
    asked += ["--timeout", "10"]
    sweep = bench.sweep(root, *asked)
    sweep.limit(resource.RLIMIT_NOFILE, 256)
    ran = sweep.wait()
    first = files(root)
    records = {record.case.arch: record for record in results.load(root=root).records}
    bench.mend(*(name for name, faulty in FAULTY.items() if faulty.status == "error"))
    again = bench.swept(root, *asked)
    for name, faulty in FAULTY.items():
        watch = Watch(root)
        kept, own = decode(name, 16), set(decode(name, 16))
        watch.ended(ran, 1, faulty.reason, traceback=True)
        record = records.get(name)
        seen = (record.status, record.reason or "") if record else ("no Record", "")
        watch.hold(seen == (faulty.status, faulty.reason), f"its Record says {seen}")
        stays = sound | (set() if faulty.status == "error" else own)
        watch.intact({name: content for name, content in first.items() if name in stays})
        watch.resumed(again, sound | decode(",".join(FAULTY), 16))
        then = [r for r in results.load(root=root).records if r.case.arch == name]
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
    """With so many GiB of addresses for each process."""
    root = bench.root()
    asked = ["--arch", ",".join(LEAKING), "--phase", "decode", "--seq-len", "16,32"]
    sweep = bench.sweep(root, *asked)
    sweep.limit(resource.RLIMIT_AS, MEMORY_BYTES)
    ran = sweep.wait()
    before, kept = files(root), statuses(root)
    watch = Watch(root)
    watch.ended(ran, 0, "can't allocate memory", "not run: out of memory at 16 tokens already")
    by = {(r.case.arch, r.case.seq_len): r.status for r in results.load(root=root).records}
    for arch, status in (("leaks", "oom"), ("hoards", "ok"), ("needs_a_gib", "ok")):
        for length in (16, 32):
            seen = by.get((arch, length))
            watch.hold(seen == status, f"{arch} at {length} is {seen}, not {status}")
    watch.resumed(bench.swept(root, *asked), decode(",".join(LEAKING)))
    watch.intact(before)
    yield Outcome(
        "architectures that leak memory, beside one that needs much",
        f"{ran.code}",
        "oom: …can't allocate memory…",
        kept,
        statuses(root),
        tuple(watch.broken),
    )


def descriptors(bench: Bench) -> Iterator[Outcome]:
    """The sweep itself can open nothing more, once its first cell is done."""
    root, sentence = bench.root(), "Too many open files"
    watch, sweep = Watch(root), bench.sweep(root, *SOUND)
    sweep.until(lambda: bool(files(root)))
    sweep.limit(resource.RLIMIT_NOFILE, 3)
    ran = sweep.wait()
    before, kept = files(root), statuses(root)
    watch.ended(ran, 1, sentence)
    watch.intact(before)
    watch.resumed(bench.swept(root, *SOUND), decode("rnn,lstm"))
    watch.intact(before)
    yield Outcome(
        "no file descriptor left",
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
        sweep.until(lambda root=root: bool(files(root)))
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
    sweep.until(lambda: bool(files(root)))
    shutil.rmtree(root)
    ran = sweep.wait()
    before, kept = files(root), statuses(root)
    watch.ended(ran, 0)
    watch.intact(before)
    watch.resumed(bench.swept(root, *SOUND), decode("rnn,lstm"))
    watch.intact(before)
    yield Outcome(
        "the results folder removed meanwhile",
        f"{ran.code}",
        "",
        kept,
        statuses(root),
        tuple(watch.broken),
    )


FAULTS: dict[str, Callable[[Bench], Iterator[Outcome]]] = {
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


def outcomes(names: list[str], kills: int) -> Iterator[Outcome]:
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for name in names:
            yield from sigkill(bench, kills) if name == "sigkill" else FAULTS[name](bench)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="SIGKILLs (default: 50)")
    names = ["sigkill", *FAULTS]
    parser.add_argument("--only", choices=names, action="append", help="these faults only")
    options = parser.parse_args()
    broken = False
    print(HEADER, flush=True)
    for outcome in outcomes(options.only or names, options.kills):
        print(outcome.row(), flush=True)
        broken |= bool(outcome.broken)
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
