"""What runs in the process that cells are measured in, which benchmarks/process.py starts.

Each line of stdin is a job, answered with a line of JSON; benchmarks/isolation.py is the other end.
What the harness does not expect ends the process, with its traceback on stderr: whoever asked makes
a Record of it and starts a new one.
"""

import errno
import faulthandler
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import results
from archs._ops import KernelRefused
from benchmarks import corpus, harness, machine
from benchmarks.harness import Ledger
from benchmarks.machine import Environment
from benchmarks.training import checkpoint_path
from results import Case
from results.schema import record_path

Job = dict[str, Any]

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def environment(job: Job) -> Job:
    return asdict(machine.environment(job["device"], job["label"]))


def ceilings(job: Job) -> Job:
    return machine.measure_ceilings(job["device"], job["dtype"])


def measure(job: Job) -> Job:
    """Measure and save, or visit once more a cell that has a Record. Says where the time went."""
    case, env, root = Case(**job["case"]), Environment(**job["env"]), Path(job["root"])
    path, ledger, began_s = record_path(case, env.label, root), Ledger(), time.perf_counter()
    try:
        if job["again"]:
            record = harness.revisit(results.read(path), env, job["limit_s"], ledger)
        else:
            record = harness.measure(
                case,
                env,
                corpus=corpus.load(job["corpus"], case.tokenizer) if case.corpus else None,
                root=root,
                limit_s=job["limit_s"],
                ledger=ledger,
            )
    except KernelRefused as error:
        return {"refused": str(error)}
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        return {"unsaved": f"{error.strerror}: {path}"}  # as far as its training is
    known_s = sum(ledger.spent_s.values())
    ledger.add({"building": time.perf_counter() - began_s - known_s})  # models, and what they take
    try:
        ledger.run("saving", lambda: record.save(root))
    except OSError as error:
        if error.errno == errno.EMFILE:  # a trouble of this process, which another one has not
            raise
        return {"unsaved": f"{error.strerror}: {path}"}
    checkpoint_path(path).unlink(missing_ok=True)
    return {"spent_s": ledger.spent_s}


JOBS: dict[str, Callable[[Job], Job]] = {
    "environment": environment,
    "ceilings": ceilings,
    "measure": measure,
}


def main(answers: TextIO, device: str, *cores: str) -> None:
    faulthandler.enable()
    machine.settle()
    if device == "cpu":
        machine.use_cores(*map(int, cores))
    for line in sys.stdin:
        job = json.loads(line)
        print(json.dumps(JOBS[job["do"]](job)), file=answers)
