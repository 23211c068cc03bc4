"""Case in, Record out. The one path that every architecture is measured through."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch
from msgspec.structs import replace

import archs
from archs._ops import KernelRefused, noting_kernels
from benchmarks import (
    bisection,
    compress,
    exam,
    machine,
    modes,
    outside,
    quality,
    revisits,
    scaling,
    sensors,
    tasks,
    timing,
    training,
)
from benchmarks.align import chain
from benchmarks.corpus import Corpus
from benchmarks.data import vocabulary
from benchmarks.machine import Environment, clock
from benchmarks.phases import PHASES, Step, Work, max_len, precision, train
from benchmarks.process import Ended
from benchmarks.ranks import ALONE, Ranks, launch
from benchmarks.training import Checkpoint
from results import Case, Probe, Reading, Record
from results.schema import OF_TEXT, record_path

# after a first step that pays for caches and lazy buffers; a GPU's clock takes longer to settle
WARMUP_S = {"cpu": 0.1, "cuda": 0.5}
MEASURE_S = {"cpu": 0.6, "cuda": 0.5}
MIN_ROUNDS = {"cpu": 5, "cuda": 30}  # fewer only if they took longer than PATIENCE_S
FEWEST_ROUNDS, MAX_ROUNDS = 5, 500
PATIENCE_S = 4.0
FEW = 8  # tokens

TEXT = {"quality": quality.observe, "compress": compress.observe, "scaling": scaling.observe}

# (step, what to call untimed before each, rounds) → seconds of each round
Stopwatch = Callable[[Step, Callable[[], None], int], tuple[float, ...]]


class TimedOut(Exception):
    """A case outlived its limit; raised between steps, so whatever ran before stays valid."""


class NotFinite(ArithmeticError):
    """A model that computes no numbers, so that its speed is no answer."""


@dataclass
class Ledger:
    """Where the wall time went, in seconds, so that the harness can own up to its overhead."""

    spent_s: dict[str, float] = field(default_factory=dict)

    def run(self, what: str, call: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        try:
            return call()
        finally:
            self.add({what: time.perf_counter() - start})

    def add(self, spent_s: Mapping[str, float]) -> None:
        for what, seconds in spent_s.items():
            self.spent_s[what] = self.spent_s.get(what, 0.0) + seconds


def deadline(limit_s: float) -> Callable[[], None]:
    """A check that raises TimedOut once `limit_s` seconds have passed."""
    end = time.perf_counter() + limit_s

    def check() -> None:
        if time.perf_counter() > end:
            raise TimedOut(f"not finished after {limit_s:g} s")

    return check


def build(case: Case, device: str) -> archs.LanguageModel:
    torch.manual_seed(case.seed)
    with torch.device(device):  # a GPU draws the weights of a large model far faster
        return archs.build(
            case.arch,
            case.size,
            max_len=max_len(case),
            kernel=case.kernel,
            short_conv=case.short_conv,
        )


def refuse_unless_it_ran(case: Case, kernels: dict[str, str]) -> None:
    """Raises KernelRefused if a kernel was asked for by name and no op has one of that name."""
    if case.kernel != "auto" and case.kernel not in kernels.values():
        ran = ", ".join(f"{op} ({kernel})" for op, kernel in kernels.items())
        raise KernelRefused(f"{case}: none of its ops has a kernel {case.kernel!r}: {ran}")


@torch.inference_mode()
def refuse_unless_finite(model: archs.LanguageModel, case: Case, device: str) -> None:
    """Raises NotFinite if a few tokens' logits are not numbers; after a step, as training's first
    may have spoiled the weights."""
    tokens_BT = torch.arange(min(FEW, case.seq_len), device=device)[None]
    with noting_kernels(), precision(case, device):  # which are not the timed step's
        x_BTD, _ = model(tokens_BT)
        finite = bool(model.logits(x_BTD).isfinite().all())
    if not finite:
        raise NotFinite("the logits are not finite after the first step")


def warm_up(work: Work, device: str, ranks: Ranks = ALONE) -> int:
    """Run until warm; how many timed rounds then fit the budget."""
    last_s, begin = 0.0, clock()
    while ranks.first(not last_s or clock() - begin < WARMUP_S[device]):
        work.before()
        start = clock()
        work.step()
        last_s = clock() - start
    last_s = ranks.first(last_s)
    fewest = min(MIN_ROUNDS[device], max(FEWEST_ROUNDS, round(PATIENCE_S / last_s)))
    return max(fewest, min(MAX_ROUNDS, round(MEASURE_S[device] / last_s)))


def time_steps(
    case: Case,
    env: Environment,
    stopwatch: Stopwatch,
    check: Callable[[], None],
    ledger: Ledger,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """Timed steps, and then memory in a pass of its own: fields of a Record."""
    with modes.nothing_compiled_before(case.mode):
        seen = watched_steps(case, env, stopwatch, check, ledger, ranks)
        modes.forget(case.mode)
        run = partial(peak_steps, case, env.device, ranks)
        peak = ledger.run("memory", lambda: machine.peak_memory(env.device, run))
    bytes_seen = {k: v for k, v in peak._asdict().items() if isinstance(v, int)}
    most = map(int, ranks.most([*bytes_seen.values()]))
    return seen | peak._asdict() | dict(zip(bytes_seen, most, strict=True))


def revisit(first: Record, env: Environment, limit_s: float, ledger: Ledger) -> Record:
    """The same cell's steps once more, without the memory pass; of both visits the calmer one.

    The first stands where the second runs out of time or memory.
    """
    if first.case.ranks > 1:  # new processes, with the memory pass
        return revisits.calmer(first, measure(first.case, env, limit_s=limit_s, ledger=ledger))
    stopwatch = partial(timing.stopwatch, env.device)
    with modes.nothing_compiled_before(first.case.mode):
        try:
            seen = watched_steps(first.case, env, stopwatch, deadline(limit_s), ledger)
        except TimedOut:
            return first
        except RuntimeError as error:
            if not machine.is_out_of_memory(error):
                raise
            return first
        finally:
            modes.forget(first.case.mode)
    return revisits.calmer(first, replace(first, measured_at=_now(), **seen))


def work_of(case: Case, model: archs.LanguageModel, ranks: Ranks) -> Work:
    """What several ranks do together is training."""
    return train(model, case, ranks) if ranks.size > 1 else PHASES[case.phase](model, case)


def watched_steps(
    case: Case,
    env: Environment,
    stopwatch: Stopwatch,
    check: Callable[[], None],
    ledger: Ledger,
    ranks: Ranks = ALONE,
) -> dict[str, Any]:
    """A first step, warm-up, timed steps, and how the machine did meanwhile."""
    model = build(case, env.device)
    work = work_of(case, model, ranks)
    seen = ledger.run("first step", lambda: first_step(case, work))
    refuse_unless_finite(model, case, env.device)
    check()
    rounds = ledger.run("warm-up", lambda: warm_up(work, env.device, ranks))
    card = sensors.card(env.device) if ranks.size == 1 else None
    readings, turns = list[Reading](), count()

    def look() -> None:
        if card is not None:
            readings.append(card.read())

    def before() -> None:
        check()
        work.before()
        if next(turns) == rounds // 2:
            look()  # meanwhile the GPU works on what was launched: it costs no step anything

    sentinel_s = timing.sentinel_s(env.device)
    look()
    step_s = ledger.run("timing", lambda: stopwatch(work.step, before, rounds))
    look()
    sentinel_s += timing.sentinel_s(env.device)
    return {
        "step_s": ranks.most(step_s),
        "step_clock": "cuda events" if env.device == "cuda" else "wall",
        "sentinel_s": ranks.most(sentinel_s),
        "sensors": tuple(readings),
        **seen,
    }


def peak_steps(case: Case, device: str, ranks: Ranks = ALONE) -> None:
    """What memory is read from; in training two, as the first makes the optimizer's moments."""
    step = work_of(case, build(case, device), ranks).step
    for _ in range(2 if case.phase == "train" else 1):
        step()


def first_step(case: Case, work: Work) -> dict[str, Any]:
    """What it took, with all that is built once, which kernels ran, the bytes of its state."""
    with noting_kernels() as kernels:
        if case.mode == "compile":
            with torch.compiler.set_stance("force_eager"):  # compiled code notes nothing
                work.before()
                work.step()
        work.before()
        start = clock()
        state_bytes = machine.tensor_bytes(work.step())
        first_step_s = clock() - start
    refuse_unless_it_ran(case, kernels)
    return {
        "first_step_s": first_step_s,
        "kernels": kernels,
        "state_bytes": state_bytes or None,  # training keeps none
    }


def measure(
    case: Case,
    env: Environment,
    *,
    stopwatch: Stopwatch | None = None,
    corpus: Corpus | None = None,
    root: Path | None = None,
    limit_s: float = 600.0,
    ledger: Ledger | None = None,
    ranks: Ranks = ALONE,
) -> Record:
    """The Record of `case`; a training keeps its checkpoint under `root`. Out of memory, timeout
    and divergence are answers; any other exception is a bug and surfaces. Raises KernelRefused if
    `case.kernel` cannot run.

    A case of several ranks is measured in as many new processes, each of which calls this with its
    `ranks`. Raises Ended if one of them crashed.
    """
    began, check, ledger = time.perf_counter(), deadline(limit_s), ledger or Ledger()
    stopwatch = stopwatch or partial(timing.stopwatch, env.device)
    status, reason, seen = "ok", None, dict[str, Any]()
    probes: list[Probe] = []
    try:
        if case.ranks > ranks.size:
            sources = () if corpus is None else corpus.sources
            start = partial(launch.measure, case, env, sources, root, limit_s)
            measured: Record = ledger.run("ranks", start)
            return replace(measured, took_s=time.perf_counter() - began)
        if case.phase in OF_TEXT:
            assert corpus is not None
            kept, observe = checkpoint(case, env, root, corpus), TEXT[case.phase]
            if ranks.size > 1:
                observe = partial(quality.observe, ranks=ranks)
            seen = ledger.run("training", lambda: observe(case, corpus, env.device, check, kept))
            refuse_unless_it_ran(case, seen["kernels"])
        elif case.phase == "align":
            kept = checkpoint(case, env, root, corpus)
            run = partial(chain.observe, case, corpus, env.device, check, kept)
            seen = ledger.run("training", run)
            refuse_unless_it_ran(case, seen["kernels"])
        elif case.task is not None:
            kept = checkpoint(case, env, root)
            seen = ledger.run("training", lambda: exam.observe(case, env.device, check, kept))
            refuse_unless_it_ran(case, seen["kernels"])
        elif case.phase == "limits":
            with noting_kernels() as kernels:
                for probe in bisection.probes(case, env.device, peak_steps):
                    probes.append(probe)
                    check()
            refuse_unless_it_ran(case, kernels)
            seen = {"kernels": kernels}
            if not any(probe.fitted for probe in probes):
                status, reason = "oom", f"the smallest {case.grows} does not fit"
        else:
            seen = time_steps(case, env, stopwatch, check, ledger, ranks)
    except Ended as error:
        if error.status == "error":
            raise
        status, reason = error.status, error.reason
    except TimedOut as error:
        status, reason = "timeout", str(error)
    except NotFinite as error:
        status, reason = "diverged", str(error)
    except training.Diverged as error:
        status, reason, seen = "diverged", str(error), {"train_nats": tuple(error.nats)}
    except RuntimeError as error:
        if not machine.is_out_of_memory(error):
            raise
        status, reason = "oom", str(error).partition("\n")[0] or "out of memory"
    told = {"status": status, "reason": reason, "probes": tuple(probes)}
    facts = model_facts(case) | {"backend": ranks.backend}
    return record(case, env, **told, **facts, **seen, took_s=time.perf_counter() - began)


def checkpoint(
    case: Case, env: Environment, root: Path | None, corpus: Corpus | None = None
) -> Checkpoint | None:
    """Where a training of this case, code and text can be gone on with; None: nowhere."""
    if root is None:
        return None
    text = None if corpus is None else corpus.sha256
    identity = f"{case} {env.device} {env.commit} {env.versions} {text}"
    return Checkpoint(record_path(case, env.label, root), identity)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def record(case: Case, env: Environment, **seen: Any) -> Record:
    return Record(
        case=case,
        label=env.label,
        measured_at=_now(),
        commit=env.commit,
        versions=env.versions | outside.versions(case.arch),
        machine=env.machine,
        ceilings=env.ceilings,
        **seen,
    )


# a parameter, in float32: the optimizer reads it, its gradient and two moments, and writes all but
# the gradient; what the two passes move is left out
ADAMW_BYTES = 28


def model_facts(case: Case) -> dict[str, Any]:
    """Counts that need shapes only, so that they are known where the model itself did not fit."""
    phase = case.steps_of or case.phase  # limits: the step it begins with
    vocab_size = vocabulary.size(case.tokenizer) if phase in OF_TEXT else None
    if phase == "align":
        vocab_size = chain.vocab_size(case)
    if case.task is not None and case.load is not None:
        vocab_size = tasks.load(case.task)(case.load).vocab_size
    with torch.device("meta"):
        model = archs.build(
            case.arch,
            case.size,
            max_len=max_len(case),
            vocab_size=vocab_size,
            short_conv=case.short_conv,
        )
    params = sum(p.numel() for p in model.parameters())
    tokens, past = (1, case.seq_len) if phase == "decode" else (case.seq_len, 0)
    if phase in ("prefill", "decode"):
        model.to(getattr(torch, case.dtype))
        scored, moved_bytes = 1, model.moved_bytes(case.batch, tokens, past)
    else:  # training keeps float32 weights
        scored, moved_bytes = tokens, ADAMW_BYTES * params
    return {
        "params": params,
        "embedding_params": model.embedding_params(),
        "param_bytes": sum(p.nbytes for p in model.parameters()),
        "forward_flops": model.forward_flops(tokens, past, scored),
        "moved_bytes": moved_bytes,
    }
