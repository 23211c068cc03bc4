"""Case in, Record out. The one path that every architecture is measured through."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch

import archs
from archs._ops import KernelRefused, noting_kernels
from benchmarks import machine, quality
from benchmarks.corpus import Corpus
from benchmarks.machine import Environment, clock
from benchmarks.phases import PHASES, Step, Work, max_len
from results import Case, Record

WARMUP_S = 0.1  # and at least two steps: the first pays for caches and lazy buffers
MEASURE_S = {"cpu": 0.6, "cuda": 1.0}
MIN_ROUNDS = {"cpu": 5, "cuda": 30}
MAX_ROUNDS = 500

# (step, what to call untimed before each, rounds) → seconds of each round
Stopwatch = Callable[[Step, Callable[[], None], int], tuple[float, ...]]


class TimedOut(Exception):
    """A case outlived its limit; raised between steps, so whatever ran before stays valid."""


@dataclass
class Ledger:
    """Where the wall time went, in seconds, so that the harness can own up to its overhead."""

    spent_s: dict[str, float] = field(default_factory=dict)

    def run(self, what: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return call()
        finally:
            self.spent_s[what] = self.spent_s.get(what, 0.0) + time.perf_counter() - start


def deadline(limit_s: float) -> Callable[[], None]:
    """A check that raises TimedOut once `limit_s` seconds have passed."""
    end = time.perf_counter() + limit_s

    def check() -> None:
        if time.perf_counter() > end:
            raise TimedOut(f"not finished after {limit_s:g} s")

    return check


def build(case: Case, device: str) -> archs.LanguageModel:
    torch.manual_seed(case.seed)
    model = archs.build(case.arch, case.size, max_len=max_len(case), kernel=case.kernel)
    return model.to(device)


def refuse_unless_it_ran(case: Case, kernels: dict[str, str]) -> None:
    """Raises KernelRefused if a kernel was asked for by name and no op has one of that name."""
    if case.kernel != "auto" and case.kernel not in kernels.values():
        ran = ", ".join(f"{op} ({kernel})" for op, kernel in kernels.items())
        raise KernelRefused(f"{case}: none of its ops has a kernel {case.kernel!r}: {ran}")


def warm_up(work: Work, device: str) -> int:
    """Run until warm; how many timed rounds then fit the budget."""
    steps, begin = 0, clock()
    while steps < 2 or clock() - begin < WARMUP_S:
        work.before()
        start = clock()
        work.step()
        last_s, steps = clock() - start, steps + 1
    return max(MIN_ROUNDS[device], min(MAX_ROUNDS, round(MEASURE_S[device] / last_s)))


def time_steps(
    case: Case, env: Environment, stopwatch: Stopwatch, check: Callable[[], None], ledger: Ledger
) -> dict[str, Any]:
    """Memory in a pass of its own, then warm-up, then timed steps: the fields of a Record."""

    state_bytes, kernels = 0, dict[str, str]()

    def twice() -> None:
        nonlocal state_bytes, kernels
        step = PHASES[case.phase](build(case, env.device), case).step
        step()  # the first step of training makes the optimizer's moments
        with noting_kernels() as kernels:
            state_bytes = machine.tensor_bytes(step())
        refuse_unless_it_ran(case, kernels)

    peak, method = ledger.run("memory", lambda: machine.peak_bytes(env.device, twice))
    check()
    work = PHASES[case.phase](build(case, env.device), case)
    rounds = ledger.run("warm-up", lambda: warm_up(work, env.device))

    def before() -> None:
        check()
        work.before()

    step_s = ledger.run("timing", lambda: stopwatch(work.step, before, rounds))
    return {
        "peak_bytes": peak,
        "peak_method": method,
        "state_bytes": state_bytes or None,  # training keeps none
        "kernels": kernels,
        "step_s": step_s,
    }


def measure(
    case: Case,
    env: Environment,
    *,
    stopwatch: Stopwatch | None = None,
    corpus: Corpus | None = None,
    limit_s: float = 600.0,
    ledger: Ledger | None = None,
) -> Record:
    """The Record of `case`. Out of memory, timeout and divergence are answers; any other
    exception is a bug and surfaces. Raises KernelRefused if `case.kernel` cannot run."""
    check, ledger = deadline(limit_s), ledger or Ledger()
    status, reason, seen = "ok", None, dict[str, Any]()
    try:
        if case.phase == "quality":
            assert corpus is not None
            seen = ledger.run("training", lambda: quality.observe(case, corpus, env.device, check))
            refuse_unless_it_ran(case, seen["kernels"])
        else:
            assert stopwatch is not None
            seen = time_steps(case, env, stopwatch, check, ledger)
    except TimedOut as error:
        status, reason = "timeout", str(error)
    except quality.Diverged as error:
        status, reason, seen = "diverged", str(error), {"train_nats": tuple(error.nats)}
    except RuntimeError as error:
        if not machine.is_out_of_memory(error):
            raise
        status, reason = "oom", str(error).partition("\n")[0] or "out of memory"
    return record(case, env, status=status, reason=reason, **model_facts(case), **seen)


def record(case: Case, env: Environment, **seen: Any) -> Record:
    return Record(
        case=case,
        label=env.label,
        measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=env.commit,
        versions=env.versions,
        machine=env.machine,
        ceilings=env.ceilings,
        **seen,
    )


def model_facts(case: Case) -> dict[str, Any]:
    """Counts that need shapes only, so that they are known where the model itself did not fit."""
    vocab_size = 256 if case.phase == "quality" else None
    with torch.device("meta"):
        model = archs.build(case.arch, case.size, max_len=max_len(case), vocab_size=vocab_size)
    if case.phase in ("prefill", "decode"):
        model.to(getattr(torch, case.dtype))  # training keeps float32 weights
    tokens, past = (1, case.seq_len) if case.phase == "decode" else (case.seq_len, 0)
    return {
        "params": sum(p.numel() for p in model.parameters()),
        "embedding_params": model.embedding_params(),
        "param_bytes": sum(p.nbytes for p in model.parameters()),
        "forward_flops": model.forward_flops(tokens, past),
    }
