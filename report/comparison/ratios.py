"""The other side over the baseline, cell by cell, by architecture and over all."""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from report.comparison import bootstrap
from report.comparison.bootstrap import Drawn, Steadying
from report.comparison.sides import Cell, Incomparable, Quantity, Side
from report.statistics import BATCHES, Estimate, Floats, exactly

ALL = "all cells"
CEILINGS = ("matmul", "copy")


@dataclass(frozen=True, kw_only=True)
class CellRatio:
    """One cell of both sides. No interval where a side has fewer than two timed steps."""

    name: str
    group: str
    baseline: float
    other: float
    value: float  # other over baseline
    interval: Estimate | None
    sentinel: float | None  # how many times as fast as beside the baseline's cell


@dataclass(frozen=True, kw_only=True)
class GroupRatio:
    """The geometric mean of some cells; its interval is None for fewer than bootstrap.FEWEST."""

    name: str
    cells: int
    mean: float
    interval: Estimate | None
    steadied: Drawn | None  # what the gate looks at; None: too few cells, or counted exactly
    of_ceiling: dict[str, float]  # the mean over the ratio of both machines' ceilings
    sentinel: float | None


@dataclass(frozen=True, kw_only=True)
class Ratios:
    """Of one quantity: over all cells, by architecture, and each."""

    quantity: Quantity
    groups: list[GroupRatio]
    cells: list[CellRatio]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A side against the baseline."""

    baseline: Side
    other: Side
    ratios: list[Ratios]
    differences: list[tuple[str, str, str]]  # fact, of the baseline, of the other
    alone: tuple[int, int]  # cells that only the baseline, only the other has
    failed: list[str]  # one sentence for each cell that only one side finished


@dataclass(frozen=True, kw_only=True)
class _Shared:
    """A cell of both sides in logs of the other over the baseline, sentinels as seconds."""

    key: Hashable
    baseline: Cell
    other: Cell

    @property
    def log(self) -> float:
        return math.log(self.other.value / self.baseline.value)

    @property
    def sentinel(self) -> float | None:
        if self.baseline.sentinel_s is None or self.other.sentinel_s is None:
            return None
        return math.log(self.other.sentinel_s / self.baseline.sentinel_s)

    def of_ceiling(self, name: str) -> float | None:
        if name not in self.baseline.ceilings or name not in self.other.ceilings:
            return None
        return self.log - math.log(self.other.ceilings[name] / self.baseline.ceilings[name])


def _all_known(values: Iterable[float | None]) -> Floats | None:
    """None where one is unknown: a mean over fewer cells would be another mean."""
    values = list(values)
    known = [value for value in values if value is not None]
    return np.array(known) if values and len(known) == len(values) else None


def _mean_ratio(logs: Floats | None) -> float | None:
    return None if logs is None else math.exp(logs.mean())


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What the cells of a run share: the kinds there are, and how each answers to its sentinel."""

    cells: int
    block: int  # in cells; 1 where nothing was timed, as neighbours then share no burst
    kinds: list[str]
    steady: Steadying | None


def _kinds(cells: Sequence[_Shared], kinds: Sequence[str]) -> NDArray[np.intp]:
    return np.array([kinds.index(cell.other.kind) for cell in cells])


def _run(cells: Sequence[_Shared]) -> _Run:
    kinds = sorted({cell.other.kind for cell in cells})
    sentinels = _all_known(cell.sentinel for cell in cells)
    timed = any(cell.other.step_s for cell in cells)
    block, steady = bootstrap.block_length(len(cells)) if timed else 1, None
    if sentinels is not None:
        logs = np.array([cell.log for cell in cells])
        steady = bootstrap.steadying(logs, sentinels, _kinds(cells, kinds), block)
    return _Run(cells=len(cells), block=block, kinds=kinds, steady=steady)


def _group(name: str, quantity: Quantity, cells: Sequence[_Shared], run: _Run) -> GroupRatio:
    logs = np.array([cell.log for cell in cells])
    sentinels = _all_known(cell.sentinel for cell in cells)
    mean = math.exp(logs.mean())
    length = bootstrap.block_share(run.block, len(cells), run.cells)
    sampled = not quantity.exact and len(cells) >= bootstrap.FEWEST
    interval = bootstrap.mean_of_cells(logs, length).estimate if sampled else None
    steadied = None
    if sampled:
        kinds = _kinds(cells, run.kinds)
        steadied = bootstrap.steadied(logs, length, sentinels, kinds, run.steady)
    return GroupRatio(
        name=name,
        cells=len(cells),
        mean=mean,
        interval=exactly(mean) if quantity.exact else interval,
        steadied=steadied,
        of_ceiling={
            ceiling: ratio
            for ceiling in CEILINGS
            if (ratio := _mean_ratio(_all_known(cell.of_ceiling(ceiling) for cell in cells)))
        },
        sentinel=_mean_ratio(None if sentinels is None else -sentinels),
    )


def _groups(quantity: Quantity, cells: Sequence[_Shared]) -> list[GroupRatio]:
    """All cells, then each architecture's."""
    by_name: dict[str, list[_Shared]] = defaultdict(list)
    for cell in cells:
        by_name[cell.other.group].append(cell)
    named = [(name, by_name[name]) for name in sorted(by_name)] if len(by_name) > 1 else []
    run = _run(cells)
    return [_group(name, quantity, group, run) for name, group in [(ALL, cells), *named]]


def _intervals(quantity: Quantity, cells: Sequence[_Shared]) -> dict[Hashable, Estimate]:
    """Of each cell that has one; those with as many batches on both sides are redrawn at once."""
    alike: dict[tuple[int, int], list[_Shared]] = defaultdict(list)
    for cell in cells:
        counts = len(cell.baseline.step_s), len(cell.other.step_s)
        if min(counts) > 1:
            alike[min(counts[0], BATCHES), min(counts[1], BATCHES)].append(cell)
    found: dict[Hashable, Estimate] = {}
    for same in alike.values():
        # a rate's samples are seconds: what it gains is what they lose
        sides = [[c.baseline.step_s for c in same], [c.other.step_s for c in same]]
        over, under = sides if quantity.better == "higher" else reversed(sides)
        logs = np.array([cell.log for cell in same])
        estimates = bootstrap.of_steps(over, under, logs)
        found |= {cell.key: estimate for cell, estimate in zip(same, estimates, strict=True)}
    return found


def _cells(quantity: Quantity, cells: Sequence[_Shared]) -> list[CellRatio]:
    intervals = _intervals(quantity, cells)
    return [
        CellRatio(
            name=str(cell.key),
            group=cell.other.group,
            baseline=cell.baseline.value,
            other=cell.other.value,
            value=math.exp(cell.log),
            interval=exactly(math.exp(cell.log)) if quantity.exact else intervals.get(cell.key),
            sentinel=None if cell.sentinel is None else math.exp(-cell.sentinel),
        )
        for cell in cells
    ]


def _failed(baseline: Side, other: Side) -> list[str]:
    """What one side finished and the other did not."""
    finished = [
        {key for cells in side.cells.values() for key in cells} - side.failed.keys()
        for side in (baseline, other)
    ]
    return [
        f"{key}: finished in {side.name}, {failing.failed[key]} in {failing.name}"
        for side, done, failing in ((baseline, finished[0], other), (other, finished[1], baseline))
        for key in failing.failed
        if key in done
    ]


def pair(baseline: Side, other: Side) -> Pair:
    """Raises Incomparable where the two share no cell."""
    found: list[Ratios] = []
    ours: set[Hashable] = set()
    theirs: set[Hashable] = set()
    for name, quantity in baseline.quantities.items():
        left, right = baseline.cells[name], other.cells.get(name, {})
        ours |= left.keys()
        theirs |= right.keys()
        shared = [
            _Shared(key=key, baseline=left[key], other=cell)
            for key, cell in right.items()  # in the order of the other's measurement
            if key in left
        ]
        if shared:
            found.append(
                Ratios(
                    quantity=quantity,
                    groups=_groups(quantity, shared),
                    cells=_cells(quantity, shared),
                )
            )
    if not found:
        raise Incomparable(
            f"{baseline.name} and {other.name} have no finished cell in common; "
            "measure the same cells for both"
        )
    sides = [side.facts(ours & theirs) for side in (baseline, other)]
    facts = [(fact, *(side.get(fact, "–") for side in sides)) for fact in {**sides[0], **sides[1]}]
    return Pair(
        baseline=baseline,
        other=other,
        ratios=found,
        differences=[(fact, left, right) for fact, left, right in facts if left != right],
        alone=(len(ours - theirs), len(theirs - ours)),
        failed=_failed(baseline, other),
    )
