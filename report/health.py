"""Whether a machine was itself while its cells were timed. Nothing is corrected by it, only told.

A fixed piece of work, the sentinel, is timed right before and right after the steps of each cell; a
GPU also says what held its clocks down.
"""

from collections.abc import Iterable, Iterator
from statistics import median

from report.units import show
from results import Record

DRIFT = 0.1  # a sentinel farther from its label's median than this is told
HARMLESS = {"idle"}  # what a GPU that waits for Python says
NAMED = 5  # cells in a sentence before the rest is only counted


def usual_s(records: Iterable[Record]) -> float:
    """What the sentinel takes on a machine: the median over all its cells; 0 if it never ran."""
    return median([seconds for record in records for seconds in record.sentinel_s] or [0.0])


def drift(record: Record, usual_s: float) -> float | None:
    """How much longer than usual the sentinel took, as a fraction: before the steps or after them,
    whichever is farther off. None: it was not timed."""
    half = len(record.sentinel_s) // 2
    if not half:
        return None
    sides = (record.sentinel_s[:half], record.sentinel_s[half:])
    return max((median(side) / usual_s - 1 for side in sides), key=abs)


def drifts(records: Iterable[Record], usual_s: float) -> Iterator[tuple[Record, float]]:
    for record in records:
        found = drift(record, usual_s)
        if found is not None:
            yield record, found


def _several(cells: list[str]) -> str:
    more = f" and {len(cells) - NAMED} more" if len(cells) > NAMED else ""
    return ", ".join(cells[:NAMED]) + more


def disturbances(records: Iterable[Record], usual_s: float) -> list[str]:
    """One sentence for each cell whose sentinel moved, and for each cause of throttling."""
    records = list(records)
    moved = [
        f"{record.case}: the sentinel took {show((1 + by) * usual_s, 's')}, {by:+.0%} of its usual "
        f"{show(usual_s, 's')}"
        for record, by in drifts(records, usual_s)
        if abs(by) > DRIFT
    ]
    throttled: dict[str, list[str]] = {}
    for record in records:
        causes = {cause for reading in record.sensors for cause in reading.throttle or ()}
        for cause in sorted(causes - HARMLESS):
            throttled.setdefault(cause, []).append(str(record.case))
    return moved + [
        f"{cause} held the clocks down in {len(cells)} cells: {_several(cells)}"
        for cause, cells in sorted(throttled.items())
    ]


def steadiness(records: Iterable[Record], usual_s: float) -> dict[str, str]:
    """The sentinel in a line, for the facts of a machine; empty where it was not timed. Beside it
    how many cells were timed again for its sake."""
    records = list(records)
    found = [drift for _, drift in drifts(records, usual_s)]
    if not found:
        return {}
    again = sum(1 for record in records if record.set_aside)
    told = {"sentinel": f"{show(usual_s, 's')}, by cell {min(found):+.0%} to {max(found):+.0%}"}
    if again:
        cells = f"{again} cell{'s' * (again > 1)}"
        told["timed again"] = f"{cells}, as the sentinel was slow; the calmest visit counts"
    return told
