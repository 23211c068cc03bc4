"""Starts the ranks of a case on this machine, and ends them all when one has answered or failed.

Each rank is a process of its own under benchmarks/process.py, so that its exit status, its
traceback and a kill for want of memory are known, and none outlives the process that asked.
Across machines torchrun starts the same module (docs/large-models.md).
"""

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import torch
from msgspec import to_builtins

import results
from archs._ops import KernelRefused
from benchmarks import machine
from benchmarks.machine import Environment
from benchmarks.process import Child, Ended
from results import Case, Record
from results.schema import record_path

LEAST_GRACE_S = 4.0  # less than benchmarks/isolation.py's: the process that waits here is heard


def available(device: str) -> int:
    """How many ranks there can be on this machine: a GPU each, or a core."""
    if device == "cuda":
        return torch.cuda.device_count()
    return len(machine.cores()) if sys.platform == "linux" else os.cpu_count() or 1


def job(
    case: Case,
    env: Environment,
    sources: Sequence[str],
    root: Path | None,
    limit_s: float,
    meeting: str = "env://",
) -> dict[str, Any]:
    """What each rank reads. `root` is where a training's checkpoint is kept, `meeting` where the
    ranks meet, torch's init_method: torchrun's is in the environment."""
    return {
        "case": to_builtins(case),
        "env": asdict(env),
        "corpus": list(sources),
        "root": None if root is None else str(root.absolute()),
        "limit_s": limit_s,
        "meeting": meeting,
    }


def measure(
    case: Case, env: Environment, sources: Sequence[str], root: Path | None, limit_s: float
) -> Record:
    """Raises Ended, with the status and reason of the first rank that crashed, was killed or hung;
    KernelRefused if `case.kernel` cannot run."""
    with tempfile.TemporaryDirectory() as folder:
        asked = job(case, env, sources, root, limit_s, f"file://{folder}/meeting")
        (Path(folder) / "job.json").write_text(json.dumps(asked))
        ranks = [_start(rank, case.ranks, folder, env.device) for rank in range(case.ranks)]
        try:
            rank, answer = _first(ranks, limit_s + max(LEAST_GRACE_S, limit_s / 8))
        finally:
            for child in ranks:
                child.close()
        if isinstance(answer, Ended):
            sys.stderr.write(answer.said)
            # of those that hang none is first
            who = "" if answer.status == "timeout" else f"rank {rank} of "
            raise Ended(answer.status, f"{who}{case.ranks} ranks: {answer.reason}", answer.said)
        if "refused" in answer:
            raise KernelRefused(answer["refused"])
        return results.read(record_path(case, env.label, Path(folder)))


def _start(rank: int, size: int, folder: str, device: str) -> Child:
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size}
    threads = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}
    return Child(
        "benchmarks.ranks.__main__",
        f"{folder}/job.json",
        folder,
        **{name: str(value) for name, value in environment.items()},
        **threads,
    )


def _first(ranks: Sequence[Child], limit_s: float) -> tuple[int, dict[str, Any] | Ended]:
    """The rank that is first to answer or to end, and what it said; then there is none left.

    A rank waits for the others in every step, so the first to end is the cause of all others'.
    """
    heard: SimpleQueue[tuple[int, dict[str, Any] | Ended]] = SimpleQueue()

    def listen(rank: int, child: Child) -> None:
        try:
            heard.put((rank, child.ask({}, limit_s)))
        except Ended as ended:
            heard.put((rank, ended))

    threads = [Thread(target=listen, args=each) for each in enumerate(ranks)]
    for thread in threads:
        thread.start()
    try:
        return heard.get()
    finally:
        for child in ranks:
            child.kill()
        for thread in threads:
            thread.join()
