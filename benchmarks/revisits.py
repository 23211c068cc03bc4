"""Which timed cells are measured once more: those in which the machine was not itself.

A shared machine has spells of seconds in which everything takes up to twice as long, and a whole
cell can fall into one. The sentinel, a fixed piece of work timed right before and right after every
cell's steps, tells. It alone decides which visit to a cell is kept, never the steps: so the choice
leans to a calm machine and to no answer. The steps of the other visits stay in the Record.
"""

from collections.abc import Callable, Iterable, Iterator
from statistics import median, quantiles

from msgspec.structs import replace

from results import Case, Record, Visit

DISTURBED = 1.15  # times the calm sentinel
FEWEST = 8  # cells to know by what is calm
MOST_VISITS = 3
SHARE = 1 / 6  # of the sweep's time so far, the most that revisits may take


def unrest_s(record: Record) -> float | None:
    """The sentinel before or after the steps, whichever took longer. None: it was not timed."""
    half = len(record.sentinel_s) // 2
    if record.status != "ok" or not half:
        return None
    return max(median(record.sentinel_s[:half]), median(record.sentinel_s[half:]))


def calm_s(records: Iterable[Record]) -> float | None:
    """What the sentinel takes while the machine is left alone: the lower quartile over the cells,
    as the median would be a disturbed one where half of them are. None: too few cells to tell."""
    known = [seconds for record in records if (seconds := unrest_s(record)) is not None]
    return quantiles(known, n=4)[0] if len(known) >= FEWEST else None


def to_revisit(records: Iterable[Record]) -> list[Record]:
    """The Records of disturbed cells that have visits left, the most disturbed first."""
    records = list(records)
    calm = calm_s(records)
    if calm is None:
        return []
    found = [
        (seconds, record)
        for record in records
        if (seconds := unrest_s(record)) is not None
        and seconds > DISTURBED * calm
        and 1 + len(record.set_aside) < MOST_VISITS
    ]
    return [record for _, record in sorted(found, key=lambda pair: -pair[0])]


def calmer(first: Record, again: Record) -> Record:
    """Of two visits to one cell the one with the calmer sentinel, with the other set aside.

    A visit that did not finish is no answer: the other is kept, and nothing is set aside.
    """
    now, before = unrest_s(again), unrest_s(first)
    if now is None or before is None:
        return first if now is None else again
    kept, other = (again, first) if now < before else (first, again)
    visit = Visit(step_s=other.step_s, sentinel_s=other.sentinel_s)
    return replace(kept, set_aside=(*first.set_aside, visit))


def until_calm(
    timed: dict[Case, Record], again: Callable[[Record], Record], in_time: Callable[[], bool]
) -> Iterator[tuple[Record, Record]]:
    """Visit the most disturbed cell until none is left or time is up: each as it was, as it is. One
    whose visit does not finish is left alone from then on."""
    left = set(timed)
    while in_time() and (disturbed := [r for r in to_revisit(timed.values()) if r.case in left]):
        first = disturbed[0]
        timed[first.case] = again(first)
        if timed[first.case] == first:
            left.discard(first.case)
        yield first, timed[first.case]


def line(first: Record, kept: Record) -> str:
    """What a visit came to, for whoever watches the sweep."""
    now, before = unrest_s(kept), unrest_s(first)
    assert now is not None and before is not None
    if kept == first:
        outcome = "and this visit did not finish"
    elif now < before:
        outcome = f"{1e3 * now:.1f} ms now: kept"
    else:
        outcome = "no less now: set aside"
    return f"  again {first.case}  the sentinel took {1e3 * before:.1f} ms, {outcome}"
