"""A pair measured: each side in its own process on one shared core, sampled in turn.

Whatever else the machine does then slows both alike. Seconds are the CPU time of a side's own
process, which does not run while another has the core.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

from benchmarks import harness
from benchmarks.machine import Environment
from benchmarks.peers._peer import Peer
from benchmarks.peers._process import Failed, Sample, Worker
from results import Case, Record

SIZE, SIZE_NAME = "3m", "peers-256"  # 3m's shape; the parameters are fewer where MLPs are left out
OURS = "seqfrontier-beside-"
TOLERANCE = 1e-3  # relative; a wrong weight shows as 1e-1, float32 summed otherwise as 1e-6
WARM_UP_S, MAX_WARM_UP = 0.5, 20
BUDGET_S = 3.0  # of samples, for the slower side
ROUNDS = {"peer-train": (3, 30), "peer-decode": (100, 100)}  # fewest, most
REHEARSALS = 4  # tokens before each timed one
# those, the timed one, and once more for the memory
DECODE_ROOM = (REHEARSALS + 1) * (MAX_WARM_UP + ROUNDS["peer-decode"][1] + 1)
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
        ours, theirs = (ask() for ask in sides)
        agree(ours, theirs)
        return [ours, theirs]

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


def cases(peer: Peer, **asked: Any) -> tuple[Case, Case]:
    """Ours and theirs. Ours is measured once for each peer, so its name says beside which."""
    shared = {"arch": peer.arch, "size": SIZE_NAME, "batch": 1, **asked}
    return Case(impl=OURS + peer.impl, **shared), Case(impl=peer.impl, **shared)


def measure(
    peer: Peer, pair: tuple[Case, Case], env: Environment, limit_s: float
) -> tuple[Record, Record]:
    """Raises Missing if the peer's package is not installed, Failed if the sides do not agree."""
    versions = [{}, {peer.distribution: peer.version()}]
    case = pair[1]
    job: dict[str, Any] = {"arch": case.arch, "impl": case.impl, "phase": case.phase}
    job |= {"seq_len": case.seq_len, "seed": case.seed}
    with (
        closing(Worker(job | {"ours": True})) as our,
        closing(Worker(job | {"ours": False})) as their,
    ):
        rounds = alternate([our.sample, their.sample], *ROUNDS[case.phase], limit_s)
        facts = [
            worker.ask(what="facts", with_peak=first.seconds <= PEAK_LIMIT_S)
            for worker, first in zip((our, their), rounds[0], strict=True)
        ]
    ours, theirs = (
        harness.record(
            pair[i],
            replace(env, versions=env.versions | versions[i]),
            status="ok",
            step_s=tuple(samples[i].seconds for samples in rounds),
            step_clock="process cpu",
            train_nats=(rounds[0][i].nats,),
            **facts[i],
        )
        for i in (0, 1)
    )
    return ours, theirs
