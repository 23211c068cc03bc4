"""How near a step came to what its machine can do: its FLOPs and bytes at the measured ceilings.

    least time = max(FLOPs / matmul ceiling, bytes / copy ceiling)

Williams et al., Roofline, 2009  https://doi.org/10.1145/1498765.1498785. The FLOPs are the model's:
what an implementation computes twice counts once, as in Chowdhery et al., PaLM, appendix B
https://arxiv.org/abs/2204.02311. Several ranks have as many times the ceilings of one; what they
say to each other is left out.
"""

from collections.abc import Callable, Iterable, Iterator

from report.steps import typical_s
from report.units import show
from results import Record

# the backward pass multiplies by each matrix twice: once for the input, once for the weight
FORWARDS = {"train": 3, "prefill": 1, "decode": 1}

Bound = Callable[[Record], float | None]  # the least seconds of a step; None: unknown


def ceiling(record: Record, name: str) -> float | None:
    """The best rate this machine reached in a microbenchmark: work per second."""
    measured = record.ceilings.get(name)
    return measured["work"] / min(measured["samples_s"]) if measured else None


def _of_all(record: Record, name: str) -> float | None:
    """The ceiling of all ranks together."""
    rate = ceiling(record, name)
    return None if rate is None else record.case.ranks * rate


def _least_s(work: int | None, rate: float | None) -> float | None:
    return None if work is None or rate is None else work / rate


def flops(record: Record) -> int | None:
    """Of one step."""
    case = record.case
    if record.forward_flops is None:
        return None
    tokens = case.batch * (1 if case.phase == "decode" else case.seq_len)
    return FORWARDS[case.phase] * record.forward_flops * tokens


def training_flops(record: Record) -> int | None:
    """Of a whole training."""
    if record.forward_flops is None or record.case.tokens is None:
        return None
    return FORWARDS["train"] * record.forward_flops * record.case.tokens


def in_cache(record: Record) -> bool | None:
    """Whether all that a step must move fits in the last-level cache; None: unknown.

    Then it need not come from memory, and how fast it comes from the cache is not measured.
    """
    cache_bytes = record.machine.get("cache_bytes")
    if record.moved_bytes is None or cache_bytes is None:
        return None
    return record.moved_bytes <= cache_bytes


def arithmetic_s(record: Record) -> float | None:
    return _least_s(flops(record), _of_all(record, f"matmul-{record.case.dtype}"))


def memory_s(record: Record) -> float | None:
    """None in cache, and where that is unknown."""
    if in_cache(record) is not False:
        return None
    return _least_s(record.moved_bytes, _of_all(record, "copy"))


def limit_s(record: Record) -> float | None:
    """The least time of a step; in cache it is arithmetic's."""
    arithmetic, memory = arithmetic_s(record), memory_s(record)
    if in_cache(record) or arithmetic is None:
        return arithmetic
    return None if memory is None else max(arithmetic, memory)


def share(least_s: float | None, step_s: float) -> float | None:
    """None where unknown, and where it would exceed the whole: no step can take less."""
    return None if least_s is None or least_s > step_s else least_s / step_s


def _step_s(record: Record) -> float | None:
    """The median of the timed steps; None where none finished."""
    timed = record.status == "ok" and record.case.phase in FORWARDS
    return typical_s(record.step_s) if timed and record.step_s else None


def remark(bound: Bound, record: Record) -> str | None:
    """A word on the share of `bound`, or in its place."""
    step_s = _step_s(record)
    if step_s is None:
        return None
    least_s = bound(record)
    if least_s is not None and least_s > step_s:
        return "contradiction"
    if bound is not arithmetic_s and in_cache(record):
        return "in cache"
    return "unknown" if least_s is None else None


def contradictions(records: Iterable[Record]) -> Iterator[str]:
    """One sentence for each Record and ceiling that cannot both be right."""
    for record in records:
        step_s, matmul = _step_s(record), f"matmul-{record.case.dtype}"
        if step_s is None:
            continue
        for what, name, bound in (("FLOPs", matmul, arithmetic_s), ("bytes", "copy", memory_s)):
            least_s = bound(record)
            if least_s is not None and least_s > step_s:
                yield (
                    f"{record.label}/{record.case}: a step took {show(step_s, 's')}, but at the "
                    f"measured {name} ceiling its {what} take {show(least_s, 's')}; that ceiling "
                    f"is too low or the count of {what} too high"
                )
