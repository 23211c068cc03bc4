"""One rank: `torchrun … -m benchmarks.ranks JOB FOLDER` measures the case in the file JOB with all
ranks that torchrun starts, and saves its Record under FOLDER.

Whatever a rank cannot finish it alone knows of: it saves why and leaves, which ends the others.
"""

import json
import os
import sys
import traceback
from pathlib import Path
from types import TracebackType
from typing import TextIO

import torch

from archs._ops import KernelRefused
from benchmarks import corpus, harness, machine, process
from benchmarks.machine import Environment
from benchmarks.ranks import Several, launch
from benchmarks.training import checkpoint_path
from results import Case


def leave(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """At once: while Python shuts down, other ranks would find their connections closed, and end
    before the one that is the cause."""
    traceback.print_exception(kind, error, trace)
    sys.stderr.flush()
    os._exit(1)


def main(answers: TextIO, path: str, folder: str) -> None:
    job = json.loads(Path(path).read_text())
    case, env = Case(**job["case"]), Environment(**job["env"])
    rank, size, here = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    if size != case.ranks:
        sys.exit(f"error: {case} is of {case.ranks} ranks, and torchrun started {size}")
    if here >= (have := launch.available(env.device)):
        sys.exit(f"error: each rank needs a core or GPU of its own, and this machine has {have}")
    machine.settle()
    if env.device == "cpu":
        machine.use_cores(machine.cores()[here])
    else:
        torch.cuda.set_device(here)
    root, text = None if job["root"] is None else Path(job["root"]), None
    if case.corpus is not None:
        text = corpus.load(job["corpus"], case.tokenizer)
    assert case.shard is not None
    ranks = Several(env.device, case.shard, rank=rank, size=size, meeting=job["meeting"])
    sys.excepthook = leave  # torch put one in its place that only marks lines with the rank
    try:
        record = harness.measure(
            case, env, corpus=text, root=root, limit_s=job["limit_s"], ranks=ranks
        )
    except KernelRefused as error:
        print(json.dumps({"refused": str(error)}), file=answers)
        sys.exit(f"error: {error}")
    if rank == 0 or record.status != "ok":
        record.save(Path(folder))
        if root is not None:
            checkpoint_path(record.path(root)).unlink(missing_ok=True)
        print(json.dumps({"rank": rank, "status": record.status}), file=answers)
    if record.status != "ok":
        sys.stderr.flush()
        os._exit(1)
    ranks.end()


if __name__ == "__main__":
    main(process.serve(), *sys.argv[1:])
