"""What is compared: a side's cells, from the Records of a label, and what is known of its machine.

A cell is one number of one Case. `tokens_per_s` is a timed Case's throughput whatever its phase;
every other quantity is a metric of the report under its own name.
"""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from report.frontier import Better
from report.metrics import METRICS
from report.peers import is_peers
from report.provenance import provenance
from report.roofline import ceiling
from results import Case, Record

THROUGHPUTS = ("train_throughput", "prefill_throughput", "decode_throughput")
SHOWN = ("peak_memory", "state", "energy", "largest_batch", "greatest_length", "perplexity")
EXACT = {"peak_memory", "state", "largest_batch", "greatest_length", "parameters"}


class Incomparable(ValueError):
    """What was asked for cannot be compared; the message is one sentence that says why."""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a ratio is of."""

    name: str
    label: str
    better: Better
    exact: bool  # counted, not sampled: its ratio has no interval
    of: Callable[[Record], float | None]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number of one side, and what says how far to trust it."""

    group: str  # the architecture; of a plain benchmark, its group or file
    kind: str = ""  # the phase: what answers alike to a disturbance
    value: float
    step_s: tuple[float, ...] = ()  # where the number is a rate of them
    sentinel_s: float | None = None
    ceilings: Mapping[str, float]  # work per second; that of a matrix product is "matmul"


Cells = dict[Hashable, Cell]  # by what both sides must share, in the order of measurement


@dataclass(frozen=True, kw_only=True)
class Side:
    """One measurement: its cells by quantity, how others ended, and what there is to know of it."""

    name: str
    quantities: dict[str, Quantity]
    cells: dict[str, Cells]
    failed: dict[Hashable, str]  # what ended otherwise than ok
    facts: Callable[[Collection[Hashable]], dict[str, str]]  # of the cells of these keys


def _tokens_per_s(record: Record) -> float | None:
    return next(
        (rate for name in THROUGHPUTS if (rate := METRICS[name].of(record)) is not None), None
    )


def _quantity(name: str) -> Quantity:
    metric = METRICS[name]
    return Quantity(
        name=name,
        label=metric.label,
        better=metric.better,
        exact=name in EXACT,
        of=lambda record: (
            metric.of(record)
            if record.case.phase in metric.phases and record.case.grows == metric.grows
            else None
        ),
    )


TOKENS_PER_S = Quantity(
    name="tokens_per_s", label="Throughput", better="higher", exact=False, of=_tokens_per_s
)
QUANTITIES = {"tokens_per_s": TOKENS_PER_S} | {name: _quantity(name) for name in METRICS}


def _sampled(quantity: Quantity, record: Record) -> bool:
    """Whether the number is a function of the time that a step took."""
    metrics = THROUGHPUTS if quantity is TOKENS_PER_S else (quantity.name,)
    return any(METRICS[name].spread(record) is not None for name in metrics)


def _cell(record: Record, quantity: Quantity, ceilings: Mapping[str, float]) -> Cell | None:
    value = quantity.of(record)
    if value is None or value <= 0:  # no ratio
        return None
    timed = _sampled(quantity, record)
    return Cell(
        group=record.case.arch,
        kind=record.case.phase,
        value=value,
        step_s=record.step_s if timed else (),
        sentinel_s=fmean(record.sentinel_s) if timed and record.sentinel_s else None,
        ceilings={
            name: ceilings[key]
            for name, key in (("matmul", f"matmul-{record.case.dtype}"), ("copy", "copy"))
            if timed and key in ceilings
        },
    )


def _facts(records: Sequence[Record], cases: Collection[Hashable]) -> dict[str, str]:
    """What could make two measurements of `cases` differ: provenance, kernels, clock, schema."""
    records = [record for record in records if record.case in cases]
    found: dict[str, set[str]] = {}
    for record in records:
        found.setdefault("schema", set()).add(f"{record.schema}")
        if record.step_s:
            found.setdefault("steps timed by", set()).add(record.step_clock)
        for op, kernel in record.kernels.items():
            found.setdefault(f"kernel of {op}", set()).add(kernel)
    return provenance(records) | {name: " / ".join(sorted(found[name])) for name in sorted(found)}


def _unrest_s(record: Record) -> float:
    return fmean(record.sentinel_s) if record.sentinel_s else float("inf")


def calmest(records: Iterable[Record]) -> list[Record]:
    """Of each Case the Record with the quickest sentinel, whatever its steps say, so that of
    repeated runs each cell is taken from the one in which the machine was most itself."""
    kept: dict[Case, Record] = {}
    for record in records:
        other = kept.get(record.case)
        if other is None or (record.status == "ok", -_unrest_s(record)) > (
            other.status == "ok",
            -_unrest_s(other),
        ):
            kept[record.case] = record
    return list(kept.values())


def of_records(name: str, records: Iterable[Record], asked: Iterable[str]) -> Side:
    """The side of one label, or of several that repeat one measurement; `asked` names quantities
    beyond those that are always shown.

    Raises Incomparable where there is no Record but of other people's implementations.
    """
    records = calmest(record for record in records if not is_peers(record))
    if not records:
        raise Incomparable(f"{name} has no readable Record of ours to compare")
    ordered = sorted(records, key=lambda record: (record.measured_at, str(record.case)))
    kinds = {key for record in records for key in record.ceilings}
    best = {
        key: max(rate for r in records if (rate := ceiling(r, key)) is not None) for key in kinds
    }
    quantities = {key: QUANTITIES[key] for key in ("tokens_per_s", *SHOWN, *asked)}
    return Side(
        name=name,
        quantities=quantities,
        cells={
            key: {
                record.case: cell
                for record in ordered
                if (cell := _cell(record, quantity, best)) is not None
            }
            for key, quantity in quantities.items()
        },
        failed={record.case: record.status for record in ordered if record.status != "ok"},
        facts=partial(_facts, records),
    )
