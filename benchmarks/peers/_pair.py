"""A pair measured: each side in its own process on one shared core, sampled in turn.

Ours may be several sides, one for each mode; theirs runs as shipped, and is the last.

Whatever else the machine does then slows both alike. Seconds are the CPU time of a side's own
process, which does not run while another has the core.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from typing import Any

from msgspec import to_builtins

from benchmarks import harness
from benchmarks.machine import Environment
from benchmarks.peers._peer import Peer
from benchmarks.peers._process import Failed, OutOfMemory, Sample, Worker
from results import Case, Record
from results.schema import Mode

SIZE, SIZE_NAME = "3m", "peers-256"  # 3m's shape; the parameters are fewer where MLPs are left out
OURS = "seqfrontier-beside-"
TOLERANCE = 1e-3  # relative; a wrong weight shows as 1e-1, float32 summed otherwise as 1e-6
WARM_UP_S, MAX_WARM_UP = 0.5, 20
BUDGET_S = 3.0  # of samples, for the slower side
ROUNDS = {"peer-train": (3, 30), "peer-decode": (100, 100)}  # fewest, most
REHEARSALS = 12  # tokens before each timed one, which the caches another process left are cold for
FIRST_TOKENS = 2  # one in which the kernels are noted, one that compiles
PROFILED = {"peer-train": 1, "peer-decode": 8}  # steps under the profiler, after the timed ones
# tokens before the timed ones; those and their rehearsals, once more for the memory and the profile
DECODE_ROOM = (
    FIRST_TOKENS
    + (REHEARSALS + 1) * (MAX_WARM_UP + ROUNDS["peer-decode"][1] + 2)
    + PROFILED["peer-decode"]
)
MODES: dict[str, tuple[Mode, ...]] = {"peer-train": ("eager",), "peer-decode": ("eager", "compile")}
PEAK_LIMIT_S = 40.0  # of a step; tracing every allocation of a longer one takes minutes

Ask = Callable[[], Sample]


def agree(ours: Sample, theirs: Sample) -> None:
    """Raises Failed unless both computed the same."""
    for mine, other in ((ours.seen, theirs.seen), ([ours.nats], [theirs.nats])):
        allowed = TOLERANCE * max(map(abs, other))
        # a NaN is not within anything
        within = [abs(a - b) <= allowed for a, b in zip(mine, other, strict=True)]
        if not all(within):
            raise Failed(
                f"the two do not compute the same: {within.count(False)} of {len(within)} numbers "
                f"differ by more than {allowed:.1g} (losses {ours.nats:.6f}, {theirs.nats:.6f})"
            )


def alternate(sides: Sequence[Ask], fewest: int, most: int, limit_s: float) -> list[list[Sample]]:
    """Rounds of one sample of each side, after a warm-up in rounds, as many as the budget allows.

    No round starts after either side has used `limit_s`; a first step longer than that is the
    sample, as its warm-up is nothing beside it. Raises Failed if the sides do not agree.
    """

    def once() -> list[Sample]:
        *ours, theirs = [ask() for ask in sides]
        for each in ours:
            agree(each, theirs)
        return [*ours, theirs]

    def slower_s(rounds: list[list[Sample]]) -> float:
        return max(sum(sample.seconds for sample in side) for side in zip(*rounds, strict=True))

    warm = [once()]
    if slower_s(warm) > limit_s:
        return warm
    while slower_s(warm) < WARM_UP_S and len(warm) < MAX_WARM_UP:
        warm.append(once())
    wanted = max(fewest, min(most, int(BUDGET_S / slower_s(warm[-1:]))))
    rounds = [once()]
    while len(rounds) < wanted and slower_s(rounds) < limit_s:
        rounds.append(once())
    return rounds


def cases(peer: Peer, modes: Sequence[Mode] = ("eager",), **asked: Any) -> tuple[Case, ...]:
    """Ours in each of `modes` that the phase has, then theirs. Ours is measured once for each peer,
    so its name says beside which."""
    shared = {"arch": peer.arch, "size": SIZE_NAME, "batch": 1, **asked}
    ours = [mode for mode in modes if mode in MODES[shared["phase"]]]
    return (
        *(Case(impl=OURS + peer.impl, mode=mode, **shared) for mode in ours),
        Case(impl=peer.impl, **shared),
    )


def measure(
    peer: Peer, sides: Sequence[Case], env: Environment, limit_s: float
) -> tuple[Record, ...]:
    """A Record a side. Raises Missing if the peer's package is not installed, Failed if the sides
    do not agree or one of ours cannot be run."""
    versions = {peer.distribution: peer.version()}
    theirs = replace(env, versions=env.versions | versions)
    with ExitStack() as workers:
        workings = [
            workers.enter_context(
                closing(
                    Worker(to_builtins(case) | {"peer": peer.impl, "ours": case is not sides[-1]})
                )
            )
            for case in sides
        ]
        asks = [worker.sample for worker in workings]
        try:
            rounds, gone = alternate(asks, *ROUNDS[sides[0].phase], limit_s), []
        except OutOfMemory as error:
            if error.worker is not workings[-1]:
                raise
            # theirs does not fit: ours is measured, and that is the comparison
            rounds = alternate(asks[:-1], *ROUNDS[sides[0].phase], limit_s)
            gone = [harness.record(sides[-1], theirs, status="oom", reason=str(error))]
        facts = [
            worker.ask(what="facts", with_peak=first.seconds <= PEAK_LIMIT_S)
            for worker, first in zip(workings, rounds[0], strict=not gone)
        ]
    measured = [
        harness.record(
            case,
            theirs if case is sides[-1] else env,
            status="ok",
            step_s=tuple(sample.seconds for sample in samples),
            step_clock="process cpu",
            train_nats=(samples[0].nats,),
            **seen,
        )
        for case, samples, seen in zip(sides, zip(*rounds, strict=True), facts, strict=not gone)
    ]
    return *measured, *gone
