"""`python -m benchmarks submit --on ray|slurm|local`: a sweep on a cluster."""

import argparse
import importlib
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import results
from benchmarks import sweep
from benchmarks.claim import lock
from benchmarks.cluster import plan as plans
from benchmarks.cluster.job import Job
from benchmarks.cluster.plan import Plan
from benchmarks.cluster.reporting import Report
from benchmarks.cluster.seat import SUBMIT, now
from benchmarks.isolation import Halt
from results.names import folder

ON = {"ray": "on_ray", "slurm": "on_slurm", "local": "on_slurm"}
DONE, FAILED, INTERRUPTED = 0, 1, 130


def _parameters(text: str) -> dict[str, Any]:
    """From `partition=gpu,time=60`."""
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if wrong := [name for name, equals, _ in pairs if not equals]:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} has no value; write NAME=VALUE,…")
    return {name: int(value) if value.isdigit() else value for name, _, value in pairs}


def add_options(command: argparse.ArgumentParser) -> None:
    for flag, keywords in sweep.OPTIONS:
        command.add_argument(flag, **keywords)
    command.add_argument("--on", choices=ON, help="who starts the cells; local: as Slurm, here")
    command.add_argument("--address", help="ray: of the cluster (default: one of this machine)")
    command.add_argument("--needs", help="ray: only nodes with this resource")
    command.add_argument(
        "--slurm", type=_parameters, default={}, help="slurm: NAME=VALUE,… as submitit knows them"
    )
    command.add_argument(
        "--workers", type=int, help="GPUs, or nodes, at once (default: ray: all; else 1)"
    )
    command.add_argument(
        "--pack", type=int, default=1, help="training cells at once on each (default: 1)"
    )
    command.add_argument("--dry-run", action="store_true", help="print the plan and its cost")
    command.add_argument("--price", type=float, help="of a GPU-hour (CPU: a node-hour)")
    command.add_argument("--fresh", action="store_true", help="measure finished cells again")
    command.add_argument("--timeout", type=float, default=600.0, help="seconds a cell may take")
    command.add_argument("--results", type=folder, default=results.ROOT, help="folder of labels")
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """0: every cell has an answer; 1: some failed; 130: interrupted.

    Raises ValueError on options that cannot be, and where there is no cluster.
    """
    for flag, number in (("--workers", options.workers), ("--pack", options.pack)):
        if number is not None and number < 1:
            raise ValueError(f"{flag} must be 1 or more, not {number}")
    plan = plans.make(options)
    for line in plans.told(plan, options):
        print(line)
    if options.dry_run:
        return DONE
    if options.on is None:
        raise ValueError(f"submit: say where, --on {', '.join(ON)}; or --dry-run")
    return _submit(plan, options, _scheduler(options.on)) if plan.todo else DONE


def _scheduler(on: str) -> ModuleType:
    try:
        return importlib.import_module(f"benchmarks.cluster.{ON[on]}")
    except ModuleNotFoundError as error:
        raise ValueError(
            f"--on {on} needs {error.name}: python -m pip install -e '.[cluster]'"
        ) from None


def _submit(plan: Plan, options: argparse.Namespace, scheduler: ModuleType) -> int:
    report = Report(plan.todo, options.pack)
    try:
        with claimed(plan, options) as job:
            if options.on == "ray":
                scheduler.connect(options.address)
                scheduler.Dealer(job, plan.todo, report, options.workers, options.needs).run()
            else:
                made = scheduler.executor(job, options.on, options.workers or 1, options.slurm)
                scheduler.run(made, job, plan, options.workers or 1, report)
    except Halt as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"interrupted: {report.summary()}; the same command goes on here", file=sys.stderr)
        return INTERRUPTED
    print(report.summary())
    return FAILED if report.failed else DONE


@contextmanager
def claimed(plan: Plan, options: argparse.Namespace) -> Iterator[Job]:
    """What the nodes are told, while no other submit can have the folder of labels.

    Raises ValueError if one has, or it cannot be written.
    """
    root, token = options.results.absolute(), str(uuid.uuid4())
    try:
        root.mkdir(parents=True, exist_ok=True)
        held = lock(root / SUBMIT)
        (root / SUBMIT).write_text(token)
    except BlockingIOError:
        raise ValueError(
            f"another submit has {root}; wait for it, or give this one --results of its own"
        ) from None
    except OSError as error:
        raise ValueError(
            f"results cannot be kept in {root}: {error.strerror}; "
            "use --results DIR with a folder you may write"
        ) from None
    try:
        yield Job(
            root=root,
            token=token,
            device=plan.device,
            label=options.label,
            dtypes=tuple(sorted({case.dtype for case in plan.todo})),
            sources=plan.sources,
            limit_s=options.timeout,
            pack=options.pack,
            since=now() if options.fresh else None,
        )
    finally:
        os.close(held)
