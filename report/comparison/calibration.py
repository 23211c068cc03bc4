"""`python -m report.comparison.calibration [LABEL …]`: how often the gate is wrong.

Without labels, two runs of a machine that does not exist are compared again and again: once as they
are, where every alarm is false, and once with the second made slower, where every silence is a
miss. With the labels of repeated runs of the same code, every ordered pair of them is compared, as
measured and with the second's steps made longer.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from pathlib import Path
from statistics import fmean, median

import numpy as np
import pandas as pd
from scipy import stats

import results
from report.comparison.gate import parse, verdicts
from report.comparison.ratios import pair
from report.comparison.sides import TOKENS_PER_S, Cell, Cells, Side, of_records
from report.statistics import Floats
from report.summary import markdown
from results.names import folder, real

GATE = "tokens_per_s<0.95"
GROUPS = [f"architecture {i}" for i in range(1, 10)]
CELLS = 12  # of each: three phases, four lengths
TIMED_S, BETWEEN_S = 0.7, 1.5  # of a cell; of building it, warming up and its pass for memory
SENTINEL_S = 0.005


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A shared machine: bursts of a neighbour, and noise that its neighbours in time resemble."""

    name: str
    quiet_s: float  # between bursts, in the mean; exponential
    burst_s: float
    worst: float = 2.0  # in a burst all is this many times slower at most, evenly drawn from 1.1
    drift: float = 0.01  # standard deviation, in log, of a whole run, which no sentinel sees
    placement: float = 0.02  # of a whole cell: where its memory happened to lie
    noise: float = 0.03  # of each step
    likeness: float = 0.9  # from one step to the next of a second, slower noise
    slow_noise: float = 0.05
    sentinel: bool = True


MACHINES = (
    Machine(name="bursts a fifth of the time", quiet_s=12, burst_s=3),
    Machine(name="the same, no sentinel", quiet_s=12, burst_s=3, sentinel=False),
    Machine(name="bursts half of the time", quiet_s=8, burst_s=8),
)


def _bursts(machine: Machine, random: np.random.Generator) -> tuple[Floats, Floats]:
    """When the machine's speed changes, in seconds, and how many times slower it is from then."""
    count = 2 * round(1000 / (machine.quiet_s + machine.burst_s))
    lengths = random.exponential((machine.quiet_s, machine.burst_s), (count, 2)).ravel()
    slower = np.column_stack([np.ones(count), random.uniform(1.1, machine.worst, count)])
    return np.cumsum(lengths) - lengths, slower.ravel()


def _likeness(machine: Machine, count: int, random: np.random.Generator) -> Floats:
    """Noise of `count` successive steps, in log: autoregressive and white."""
    slow, steps = 0.0, []
    fresh = machine.slow_noise * np.sqrt(1 - machine.likeness**2)
    for pushed in random.normal(0, fresh, count):
        slow = machine.likeness * slow + pushed
        steps.append(slow)
    return np.array(steps) + random.normal(0, machine.noise, count)


def _run(
    machine: Machine, name: str, step_s: Floats, response: Floats, random: np.random.Generator
) -> Side:
    """One sweep over cells whose undisturbed steps take `step_s`, in that order.

    `response`: the power of a burst by which each cell slows; the sentinel slows by the first.
    """
    starts, slower = _bursts(machine, random)
    drift, now_s = random.normal(0, machine.drift), 0.0
    cells: Cells = {}

    def slowness(at_s: Floats) -> Floats:
        return slower[np.searchsorted(starts, at_s, side="right") - 1]

    def sentinel(at_s: float) -> Floats:
        return SENTINEL_S * slowness(np.full(3, at_s)) * np.exp(random.normal(0, 0.04, 3))

    for i, (undisturbed_s, power) in enumerate(zip(step_s, response, strict=True)):
        now_s += BETWEEN_S
        count = int(np.clip(TIMED_S / undisturbed_s, 5, 100))
        at_s = now_s + np.linspace(0, max(TIMED_S, 5 * undisturbed_s), count)
        luck = drift + random.normal(0, machine.placement) + _likeness(machine, count, random)
        taken_s = undisturbed_s * slowness(at_s) ** power * np.exp(luck)
        beside_s = [*sentinel(now_s), *sentinel(at_s[-1])]
        now_s = at_s[-1]
        cells[i] = Cell(
            group=GROUPS[i % len(GROUPS)],
            value=1 / median(taken_s),
            step_s=tuple(taken_s),
            sentinel_s=fmean(beside_s) if machine.sentinel else None,
            ceilings={},
        )
    return Side(
        name=name,
        quantities={"tokens_per_s": TOKENS_PER_S},
        cells={"tokens_per_s": cells},
        failed={},
        facts=lambda _: {},
    )


def simulated(machine: Machine, pairs: int) -> Iterator[tuple[Side, Side]]:
    """Two runs of the same code in the same order, `pairs` times."""
    random = np.random.default_rng(0)
    count = CELLS * len(GROUPS)
    for _ in range(pairs):
        step_s = 10 ** random.uniform(
            -3.3, -0.7, count
        )  # half a millisecond to a fifth of a second
        response = random.uniform(0.6, 1.1, count)
        yield (
            _run(machine, "before", step_s, response, random),
            _run(machine, "after", step_s, response, random),
        )


def _slowed(side: Side, times: float, group: str | None) -> Side:
    """`side` with all steps of `group` (None: of every cell) taking that many times as long."""
    cells = {
        key: replace(
            cell, value=cell.value / times, step_s=tuple(times * step_s for step_s in cell.step_s)
        )
        if group in (None, cell.group)
        else cell
        for key, cell in side.cells["tokens_per_s"].items()
    }
    return replace(side, cells={"tokens_per_s": cells})


def _fires(before: Side, after: Side) -> bool:
    return any(verdict.fires for verdict in verdicts([parse(GATE)], [pair(before, after)]))


def rates(name: str, runs: Iterable[tuple[Side, Side]]) -> Iterator[dict[str, str]]:
    """A row for each slowdown: at how many pairs the gate fired, Clopper and Pearson's 95 %."""
    runs = list(runs)
    first = next(iter(runs[0][0].cells["tokens_per_s"].values())).group
    for what, times, group in (
        ("nothing", 1.0, None),
        ("everything, 10 % fewer tokens/s", 1 / 0.9, None),
        ("everything, steps 10 % longer", 1.1, None),
        ("one architecture, 30 % fewer tokens/s", 1 / 0.7, first),
    ):
        fired = sum(_fires(before, _slowed(after, times, group)) for before, after in runs)
        low, high = stats.binomtest(fired, len(runs)).proportion_ci()
        yield {
            "machine": name,
            "slower": what,
            "pairs": f"{len(runs)}",
            "gate fired": f"{fired / len(runs):.1%} ({low:.1%}–{high:.1%})",
        }


def _of_time(labels: Sequence[str], root: Path) -> Side:
    side = of_records("+".join(labels), results.load(labels, root).records, ())
    return replace(
        side,
        cells={"tokens_per_s": side.cells["tokens_per_s"]},
        quantities={"tokens_per_s": TOKENS_PER_S},
    )


def _measured(labels: Sequence[str], root: Path, each: int) -> Iterator[tuple[Side, Side]]:
    """Sides of `each` runs, every pair that shares none."""
    drawn = list(combinations(labels, each))
    sides = {some: _of_time(some, root) for some in drawn}
    for before, after in permutations(drawn, 2):
        if not set(before) & set(after):
            yield sides[before], sides[after]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("labels", nargs="*", metavar="LABEL", help="repeated runs of one code")
    parser.add_argument("--results", type=folder, default=results.ROOT, help="folder to read")
    parser.add_argument("--pairs", type=int, default=400, help="simulated, of each machine")
    given = parser.parse_args()
    if given.labels:
        root = real(given.results)
        runs = {
            f"measured, sides of {each}": _measured(given.labels, root, each)
            for each in range(1, 1 + len(given.labels) // 2)
        }
    else:
        runs = {machine.name: simulated(machine, given.pairs) for machine in MACHINES}
    rows = [row for name, of_name in runs.items() for row in rates(name, of_name)]
    print(markdown(pd.DataFrame(rows)), end="")


if __name__ == "__main__":
    main()
