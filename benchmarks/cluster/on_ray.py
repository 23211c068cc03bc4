"""Ray: an actor for every GPU of the cluster, or every node, each a Seat that cells are dealt to.

Actors, not tasks: between two tasks the process that measures would be left idle on a GPU that Ray
has given to somebody else, or be started anew for each cell. An actor holds its GPU as long as the
process lives. A seat that dies with its node loses the cells it had; they are dealt to another.
"""

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from benchmarks import outside
from benchmarks.cluster.hand import Hand
from benchmarks.cluster.job import Answer, Job
from benchmarks.cluster.reporting import Report
from benchmarks.cluster.seat import Seat
from benchmarks.isolation import Halt
from results import Case

LOOK_S = 2.0  # between two looks at which nodes there are
REACH_S = 5.0
RESOURCE = {"cuda": "GPU", "cpu": "CPU"}


class Place(NamedTuple):
    """The node, and which of its GPUs."""

    node: str
    number: int

    def __str__(self) -> str:
        return f"node {self.node[:8]}, seat {self.number}"


@dataclass(eq=False)
class Taken:
    """A seat, from when it is asked for until it is lost."""

    place: Place
    actor: Any
    is_open: bool = False
    cases: list[Case] = field(default_factory=list)


class Dealer:
    """Deals cells to seats, `most` of them on nodes that have the resource `needs`, until each cell
    has an answer. Raises isolation.Halt where Records cannot be kept."""

    def __init__(
        self,
        job: Job,
        cases: Sequence[Case],
        report: Report,
        most: int | None = None,
        needs: str | None = None,
    ) -> None:
        self.job, self.report, self.most = job, report, most
        self.needs = {RESOURCE[job.device], needs or RESOURCE[job.device]}
        self.hand = Hand(cases, job.pack)
        self.actor = ray.remote(Seat)
        self.seats: dict[Place, Taken] = {}
        self.awaited: dict[Any, tuple[Taken, Case | None]] = {}  # None: that the seat opens
        self.refused: set[str] = set()  # nodes
        self.looked_s = time.monotonic()

    def run(self) -> None:
        """Raises ValueError if no node of the cluster can measure, or none is left that can."""
        try:
            while self.hand or any(case for _, case in self.awaited.values()):
                self._look()
                self._deal()
                done, _ = ray.wait(list(self.awaited), num_returns=1, timeout=LOOK_S)
                for reference in done:
                    self._settle(reference)
        finally:
            for seat in self.seats.values():
                ray.kill(seat.actor)

    def _look(self) -> None:
        """A seat for every GPU, or node, that has none."""
        if self.seats and time.monotonic() - self.looked_s < LOOK_S:
            return
        self.looked_s = time.monotonic()
        for node in ray.nodes():
            name, have = node["NodeID"], node["Resources"]
            if not node["Alive"] or name in self.refused or self.needs - have.keys():
                continue
            count = int(have[RESOURCE[self.job.device]])
            on_cpu = self.job.device == "cpu"
            for place in (Place(name, number) for number in range(1 if on_cpu else count)):
                enough = self.most is not None and len(self.seats) >= self.most
                if place not in self.seats and not enough:
                    self._start(place, num_cpus=count if on_cpu else 1, num_gpus=int(not on_cpu))
        if not self.seats:
            raise ValueError(self._nobody())

    def _nobody(self) -> str:
        if self.refused:
            return "no node is left that can measure; the same command goes on with what has none"
        return (
            f"no node of the cluster has {' and '.join(sorted(self.needs))}; "
            "see --device and --needs, or add one"
        )

    def _start(self, place: Place, **needed: int) -> None:
        sources = os.environ.get(outside.VARIABLE)
        actor: Any = self.actor.options(
            **needed,
            max_concurrency=self.job.pack,
            scheduling_strategy=NodeAffinitySchedulingStrategy(place.node, soft=False),
            runtime_env={"env_vars": {outside.VARIABLE: sources}} if sources else None,
        ).remote(self.job)
        seat = self.seats[place] = Taken(place, actor)
        self.awaited[actor.open.remote()] = seat, None

    def _deal(self) -> None:
        for seat in self.seats.values():
            while seat.is_open and (case := self.hand.deal(seat.cases)) is not None:
                seat.cases.append(case)
                self.awaited[seat.actor.measure.remote(case)] = seat, case

    def _settle(self, reference: Any) -> None:
        seat, case = self.awaited.pop(reference)
        try:
            answer = ray.get(reference)
        except RayActorError:  # the seat, and maybe its node, is no more
            self._lose(seat, case)
        except RayTaskError as error:
            if isinstance(error.cause, Halt):
                raise Halt(str(error.cause)) from None
            if case is not None or not isinstance(error.cause, ValueError):
                raise
            self._drop(seat, f"is not used: {error.cause}")
            self.refused.add(seat.place.node)
        else:
            if case is None:
                seat.is_open = True
                self._count(f"{seat.place}: measures into {answer}")
            else:
                seat.cases.remove(case)
                self.report.answer(answer)

    def _lose(self, seat: Taken, case: Case | None) -> None:
        self._drop(seat, "was lost")
        if case is None:
            self.refused.add(seat.place.node)
        elif self.hand.take_back(case):
            self.report.note(f"{case}: lost with its seat, and dealt again")
        else:
            reason = f"lost with its seat {self.hand.lost[case]} times"
            self.report.answer(Answer(case=str(case), status="lost", reason=reason))

    def _drop(self, seat: Taken, why: str) -> None:
        if self.seats.get(seat.place) is seat:
            del self.seats[seat.place]
            ray.kill(seat.actor)
            self._count(f"{seat.place} {why}")

    def _count(self, sentence: str) -> None:
        self.report.note(sentence)
        self.report.seats(sum(seat.is_open for seat in self.seats.values()))


def connect(address: str | None) -> None:
    """To the cluster there, or the one that RAY_ADDRESS names, or a new one of this machine alone.

    Raises ValueError if there is none.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = address or os.environ.get("RAY_ADDRESS")
    if address is not None:
        _reach(address)
    try:
        ray.init(address=address or "local", include_dashboard=False)
    except (ConnectionError, RuntimeError) as error:
        raise ValueError(f"Ray cannot be had at {address or 'this machine'}: {error}") from None


def _reach(address: str) -> None:
    """Raises ValueError if nobody is there, which Ray would wait for for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise ValueError(f"--address {address}: write HOST:PORT, of the cluster's head")
    try:
        socket.create_connection((host, int(port)), REACH_S).close()
    except OSError as error:
        raise ValueError(f"--address {address}: no Ray cluster answers there: {error}") from None
