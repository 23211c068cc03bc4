"""Every number the report speaks of, as a row: its name, which way is better, how it is got."""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import median, quantiles

from report.frontier import Better
from report.losses import bits_per_byte, evaluation, perplexity
from results import Evaluation, Record

COST_PHASES = ("train", "prefill", "decode")
# the backward pass multiplies by each matrix twice: once for the input, once for the weight
FORWARDS = {"train": 3, "prefill": 1}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number of one Record; `of` gives None where the Record has no such number."""

    name: str
    label: str
    unit: str
    better: Better
    phases: tuple[str, ...]
    of: Callable[[Record], float | None]
    # first and third quartile over the timed steps; None where nothing was sampled
    spread: Callable[[Record], tuple[float, float] | None] = lambda record: None


def ceiling(record: Record, name: str) -> float | None:
    """The best rate this machine reached in a microbenchmark: work per second."""
    measured = record.ceilings.get(name)
    return measured["work"] / min(measured["samples_s"]) if measured else None


def _matmul_fraction(record: Record, step_s: float) -> float | None:
    case = record.case
    peak = ceiling(record, f"matmul-{case.dtype}")
    if record.forward_flops is None or peak is None:
        return None
    flops = FORWARDS[case.phase] * record.forward_flops * case.batch * case.seq_len
    return flops / step_s / peak


def _tokens_read_per_s(record: Record, step_s: float) -> float:
    return record.case.batch * record.case.seq_len / step_s


def _tokens_written_per_s(record: Record, step_s: float) -> float:
    return record.case.batch / step_s


def _timed(
    name: str,
    label: str,
    unit: str,
    phases: tuple[str, ...],
    at: Callable[[Record, float], float | None],
) -> Metric:
    """A metric that is a function of the time one step takes."""

    def of(record: Record) -> float | None:
        if record.status != "ok" or record.case.phase not in phases or not record.step_s:
            return None
        return at(record, median(record.step_s))

    def spread(record: Record) -> tuple[float, float] | None:
        if of(record) is None or len(record.step_s) < 2:
            return None
        first, _, third = quantiles(record.step_s, n=4, method="inclusive")
        low, high = at(record, first), at(record, third)
        return None if low is None or high is None else (min(low, high), max(low, high))

    better: Better = "lower" if unit == "s" else "higher"
    return Metric(
        name=name, label=label, unit=unit, better=better, phases=phases, of=of, spread=spread
    )


def _counted(
    name: str,
    label: str,
    unit: str,
    phases: tuple[str, ...],
    of: Callable[[Record], float | None],
) -> Metric:
    return Metric(name=name, label=label, unit=unit, better="lower", phases=phases, of=of)


def _held_out(
    name: str, label: str, unit: str, value: Callable[[Evaluation], float | None]
) -> Metric:
    def of(record: Record) -> float | None:
        test = evaluation(record, "test", record.case.seq_len)
        return value(test) if test and record.status == "ok" else None

    return _counted(name, label, unit, ("quality",), of)


def _peak(record: Record) -> float | None:
    return record.peak_bytes if record.status == "ok" else None


def _state(record: Record) -> float | None:
    """After reading seq_len tokens. A decode's state also holds room for the tokens to come."""
    if record.status != "ok" or record.state_bytes is None:
        return None
    return record.state_bytes / record.case.batch


def _parameters(record: Record) -> float | None:
    if record.params is None or record.embedding_params is None:
        return None
    return record.params - record.embedding_params


def _seconds(record: Record, step_s: float) -> float:
    return step_s


_ROWS = (
    _held_out("perplexity", "Test perplexity", "perplexity", perplexity),
    _held_out("bits_per_byte", "Test bits per byte", "bits/byte", bits_per_byte),
    _timed("train_throughput", "Training", "tokens/s", ("train",), _tokens_read_per_s),
    _timed("prefill_throughput", "Prefill", "tokens/s", ("prefill",), _tokens_read_per_s),
    _timed("time_to_first_token", "Time to first token", "s", ("prefill",), _seconds),
    _timed("decode_throughput", "Generation", "tokens/s", ("decode",), _tokens_written_per_s),
    _timed("decode_latency", "Time per generated token", "s", ("decode",), _seconds),
    _timed(
        "matmul_fraction",
        "Share of the measured matmul ceiling",
        "fraction",
        ("train", "prefill"),
        _matmul_fraction,
    ),
    _counted("peak_memory", "Peak memory", "bytes", COST_PHASES, _peak),
    _counted("state", "State per sequence", "bytes", ("prefill",), _state),
    _counted(
        "parameters",
        "Parameters without embeddings",
        "parameters",
        ("quality", *COST_PHASES),
        _parameters,
    ),
)
METRICS = {metric.name: metric for metric in _ROWS}
