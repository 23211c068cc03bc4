"""Slurm, by submitit: an array job, every element a Seat that measures its share of the cells.

Shares are dealt beforehand, as long as each other by the plan's estimates. An element that Slurm
requeues, or that is submitted again, goes on with what of its share has no Record. Each answer is a
line of a journal, which whoever waits reads. `local` is the same without Slurm: processes here.
"""

import heapq
import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import submitit
from submitit.helpers import Checkpointable

from benchmarks.cluster.job import LOST, Answer, Job, is_timed
from benchmarks.cluster.plan import Plan
from benchmarks.cluster.reporting import Report
from benchmarks.cluster.seat import Seat
from benchmarks.isolation import Halt
from results import Case

FOLDER = ".submitit"  # in the folder of labels: what was submitted, logs, journals
POLL_S = 0.5
TIMEOUT_MIN = 240  # of an element; Slurm then requeues it


class Element(Checkpointable):
    """Of the array. Plain data: it is pickled again when Slurm ends it before its time."""

    def __init__(self, job: Job) -> None:
        self.job = job

    def __call__(self, cases: Sequence[Case]) -> str | None:
        """Why it could not go on, in one sentence; None: each case has its answer."""
        seat, own = Seat(self.job), f"{submitit.JobEnvironment().job_id}.journal"
        try:
            seat.open()
            with open(self.job.root / FOLDER / own, "a", buffering=1) as journal:
                for answer in _answers(seat, cases):
                    journal.write(json.dumps(asdict(answer)) + "\n")
        except (Halt, ValueError) as error:
            return str(error)
        finally:
            seat.close()
        return None


def _answers(seat: Seat, cases: Sequence[Case]) -> Iterator[Answer]:
    for case in filter(is_timed, cases):
        yield seat.measure(case)
    with ThreadPoolExecutor(seat.job.pack) as threads:
        training = [case for case in cases if not is_timed(case)]
        futures = [threads.submit(seat.measure, case) for case in training]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            seat.kill()  # or, of an element that ends early, the threads would be waited for
            threads.shutdown(cancel_futures=True)


class Journals:
    """What the elements wrote since it was last asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.read = {path: path.stat().st_size for path in folder.glob("*.journal")}

    def __call__(self) -> Iterator[Answer]:
        for path in sorted(self.folder.glob("*.journal")):
            with open(path, "rb") as lines:
                lines.seek(self.read.get(path, 0))
                for line in lines:
                    if line.endswith(b"\n"):  # the rest of one may not be there yet
                        self.read[path] = self.read.get(path, 0) + len(line)
                        yield Answer(**json.loads(line))


def shares(
    cases: Sequence[Case], seconds: Callable[[Case], float | None], count: int
) -> list[list[Case]]:
    """`count` of them, or as many as there are cells, of about the same length: the longest cell
    first, each to the share that is shortest yet. A cell of unknown length is taken for a mean
    one. In a share cells keep the order of the sweep."""
    known = {case: s for case in cases if (s := seconds(case)) is not None}
    mean_s = sum(known.values()) / len(known) if known else 1.0
    place = {case: number for number, case in enumerate(cases)}
    count = min(count, len(cases))
    heap: list[tuple[float, int, list[Case]]] = [(0.0, number, []) for number in range(count)]
    for case in sorted(cases, key=lambda case: -known.get(case, mean_s)):
        sum_s, number, share = heap[0]
        share.append(case)
        heapq.heapreplace(heap, (sum_s + known.get(case, mean_s), number, share))
    return [sorted(share, key=place.__getitem__) for _, _, share in sorted(heap)]


def executor(job: Job, on: str, workers: int, given: dict[str, Any]) -> submitit.AutoExecutor:
    """Raises ValueError if Slurm is not here, or a parameter of --slurm is none of submitit's."""
    if on == "local" and job.device == "cuda" and workers > 1:  # submitit gives each the first
        raise ValueError("--on local has one GPU for all its workers; use --on ray, or --workers 1")
    try:
        made = submitit.AutoExecutor(folder=job.root / FOLDER / "%j", cluster=on)
        made.update_parameters(
            name="seqfrontier",
            timeout_min=TIMEOUT_MIN,
            nodes=1,
            tasks_per_node=1,
            slurm_array_parallelism=workers,
            slurm_additional_parameters={"requeue": True},  # when its node is lost
            **_hardware(job),
        )
        made.update_parameters(**{f"slurm_{name}": value for name, value in given.items()})
    except (RuntimeError, NameError, TypeError, ValueError) as error:
        raise ValueError(f"--on {on}: {error}") from None
    return made


def _hardware(job: Job) -> dict[str, Any]:
    """A GPU, and a core for each process on it; or a node to itself."""
    if job.device == "cuda":
        return {"gpus_per_node": 1, "cpus_per_task": job.pack}
    return {"cpus_per_task": job.pack, "slurm_exclusive": True}


def run(made: submitit.AutoExecutor, job: Job, plan: Plan, workers: int, report: Report) -> None:
    """Until each case has an answer, or arrays in a row brought none. Interrupted, it leaves what
    Slurm has to Slurm, and ends processes of this machine."""
    report.seats(workers)
    news, barren = Journals(job.root / FOLDER), 0
    left = {str(case): case for case in plan.todo}
    while left and barren < LOST:
        before = len(left)
        parts = shares(list(left.values()), lambda case: plan.seat_s(case, job.pack), workers)
        elements = made.map_array(Element(job), parts)
        report.note(f"submitted: {', '.join(str(element.job_id) for element in elements)}")
        try:
            _await(elements, news, left, report)
        except KeyboardInterrupt:
            if made.cluster == "local":
                for element in elements:
                    element.cancel()
            raise
        for element in elements:
            if why := _why(element):
                report.note(f"{element.job_id}: {why}")
        barren = 0 if len(left) < before else barren + 1
        # the other way round: a cell that ends its element is then the last of its share
        left = dict(reversed(left.items()))
    for name in left:
        report.answer(Answer(case=name, status="lost", reason=f"no answer from {LOST} arrays"))


def _await(
    elements: Sequence[submitit.Job[str | None]],
    news: Journals,
    left: dict[str, Case],
    report: Report,
) -> None:
    """Until all have ended; what is answered meanwhile is told, and not `left` any more."""
    ended = False
    while not ended:
        ended = all([element.done() for element in elements])  # asked before the last news
        for answer in news():
            if left.pop(answer.case, None) is not None:
                report.answer(answer)
        if not ended:
            time.sleep(POLL_S)


def _why(element: submitit.Job[str | None]) -> str | None:
    """Why an element did not answer for all of its share."""
    if not element.paths.result_pickle.exists():  # which submitit would wait for
        return f"{element.state.lower()}, before it had done its share; see {element.paths.stderr}"
    error = element.exception()
    return element.result() if error is None else str(error).strip().rpartition("\n")[2]
