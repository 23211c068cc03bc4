"""Every number the report speaks of, as a row: its name, which way is better, how it is got."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from report import compression, roofline
from report.frontier import Better
from report.losses import (
    accuracy,
    bits_per_byte,
    evaluation,
    excess_nats,
    perplexity,
    solved,
    tally,
)
from report.steps import middle_half, typical_s
from results import Evaluation, Record, Tally

COST_PHASES = ("train", "prefill", "decode")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A number of one Record; `of` gives None where the Record has no such number."""

    name: str
    label: str
    unit: str
    better: Better
    phases: tuple[str, ...]
    of: Callable[[Record], float | None]
    grows: str | None = None  # limits: of which search, as Case.grows names it
    # first and third quartile over the timed steps; None where nothing was sampled
    spread: Callable[[Record], tuple[float, float] | None] = lambda record: None
    # a word on the number, or in its place; None where there is nothing to say
    remark: Callable[[Record], str | None] = lambda record: None

    def __reduce__(self) -> tuple[Callable[[str], "Metric"], tuple[str]]:
        """Between processes a metric goes by its name."""
        return _named, (self.name,)


# what steps of such times, in seconds, are worth in one Record
Worth = Callable[[Record, tuple[float, ...]], list[float | None]]


def _tokens_read_per_s(record: Record, steps_s: tuple[float, ...]) -> list[float | None]:
    tokens = record.case.batch * record.case.seq_len
    return [tokens / step_s for step_s in steps_s]


def _tokens_written_per_s(record: Record, steps_s: tuple[float, ...]) -> list[float | None]:
    return [record.case.batch / step_s for step_s in steps_s]


def _timed(
    name: str,
    label: str,
    unit: str,
    phases: tuple[str, ...],
    worth: Worth,
) -> Metric:
    """A metric that is a function of the time one step takes."""

    def timed(record: Record) -> bool:
        return record.status == "ok" and record.case.phase in phases

    def of(record: Record) -> float | None:
        if not timed(record) or not record.step_s:
            return None
        return worth(record, (typical_s(record.step_s),))[0]

    def spread(record: Record) -> tuple[float, float] | None:
        if not timed(record) or len(record.step_s) < 2:
            return None
        low, high = worth(record, middle_half(record.step_s))
        return None if low is None or high is None else (min(low, high), max(low, high))

    better: Better = "lower" if unit == "s" else "higher"
    return Metric(
        name=name, label=label, unit=unit, better=better, phases=phases, of=of, spread=spread
    )


def _share(name: str, label: str, bound: roofline.Bound) -> Metric:
    """The least time that `bound` allows a step, over the time it took."""

    def worth(record: Record, steps_s: tuple[float, ...]) -> list[float | None]:
        least_s = bound(record)
        return [roofline.share(least_s, step_s) for step_s in steps_s]

    timed = _timed(name, label, "fraction", COST_PHASES, worth)
    return replace(timed, remark=lambda record: roofline.remark(bound, record))


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


def _answered(
    name: str,
    label: str,
    unit: str,
    better: Better,
    phases: tuple[str, ...],
    value: Callable[[Tally], float | None],
) -> Metric:
    def of(record: Record) -> float | None:
        test = tally(record, "test", record.case.seq_len)
        return value(test) if test and record.status == "ok" else None

    return Metric(name=name, label=label, unit=unit, better=better, phases=phases, of=of)


def _compressed(
    name: str, label: str, unit: str, better: Better, value: Callable[[Record], float | None]
) -> Metric:
    def of(record: Record) -> float | None:
        return value(record) if record.status == "ok" else None

    return Metric(name=name, label=label, unit=unit, better=better, phases=("compress",), of=of)


def _peak(record: Record) -> float | None:
    return record.peak_bytes if record.status == "ok" else None


def _state(record: Record) -> float | None:
    """After reading seq_len tokens. A decode's state also holds room for the tokens to come."""
    if record.status != "ok" or record.state_bytes is None:
        return None
    return record.state_bytes / record.case.batch


def _energy(record: Record) -> float | None:
    """Of the whole card, from just before the first timed step to just after the last."""
    counter_j = [reading.energy_j for reading in record.sensors if reading.energy_j is not None]
    if record.status != "ok" or len(counter_j) < 2 or not record.step_s:
        return None
    case = record.case
    tokens = len(record.step_s) * case.batch * (1 if case.phase == "decode" else case.seq_len)
    return (counter_j[-1] - counter_j[0]) / tokens


def _largest(name: str, label: str, unit: str, grows: str) -> Metric:
    """The largest size probed that fitted into memory."""

    def of(record: Record) -> float | None:
        fitted = [probe.size for probe in record.probes if probe.fitted]
        return max(fitted, default=None)

    def remark(record: Record) -> str | None:
        every = of(record) is not None and all(probe.fitted for probe in record.probes)
        return "at least" if every else None

    return Metric(
        name=name,
        label=label,
        unit=unit,
        better="higher",
        phases=("limits",),
        grows=grows,
        of=of,
        remark=remark,
    )


def _parameters(record: Record) -> float | None:
    if record.params is None or record.embedding_params is None:
        return None
    return record.params - record.embedding_params


def _seconds(record: Record, steps_s: tuple[float, ...]) -> list[float | None]:
    return list(steps_s)


_ROWS = (
    _held_out("perplexity", "Test perplexity", "perplexity", perplexity),
    _held_out("bits_per_byte", "Test bits per byte", "bits/byte", bits_per_byte),
    _answered("accuracy", "Right answers", "fraction", "higher", ("recall", "state"), accuracy),
    _answered("solved", "Seeds that solved it", "fraction", "higher", ("recall", "state"), solved),
    _answered("excess", "Loss beyond Bayes", "nats", "lower", ("markov",), excess_nats),
    _compressed(
        "compression_rate", "Compressed size", "bits/byte", "lower", compression.static_rate
    ),
    _compressed(
        "prequential_rate",
        "Compressed size while learning",
        "bits/byte",
        "lower",
        compression.prequential_rate,
    ),
    _compressed(
        "adjusted_rate_16",
        "Compressed size with 16-bit weights",
        "bits/byte",
        "lower",
        partial(compression.adjusted_rate, weight_bytes=2),
    ),
    _compressed(
        "adjusted_rate_32",
        "Compressed size with 32-bit weights",
        "bits/byte",
        "lower",
        partial(compression.adjusted_rate, weight_bytes=4),
    ),
    _compressed(
        "encode_speed",
        "Compression",
        "bytes/s",
        "higher",
        partial(compression.speed, decoding=False),
    ),
    _compressed(
        "decode_speed",
        "Decompression",
        "bytes/s",
        "higher",
        partial(compression.speed, decoding=True),
    ),
    _compressed("coder_overhead", "Coder's overhead", "fraction", "lower", compression.overhead),
    _timed("train_throughput", "Training", "tokens/s", ("train",), _tokens_read_per_s),
    _timed("prefill_throughput", "Prefill", "tokens/s", ("prefill",), _tokens_read_per_s),
    _timed("time_to_first_token", "Time to first token", "s", ("prefill",), _seconds),
    _timed("decode_throughput", "Generation", "tokens/s", ("decode",), _tokens_written_per_s),
    _timed("decode_latency", "Time per generated token", "s", ("decode",), _seconds),
    _share("flops_utilisation", "Model FLOPs utilisation", roofline.arithmetic_s),
    _share("bandwidth_utilisation", "Memory bandwidth utilisation", roofline.memory_s),
    _share("limit_fraction", "Fraction of the machine's limit", roofline.limit_s),
    _counted("peak_memory", "Peak memory", "bytes", COST_PHASES, _peak),
    _counted("state", "State per sequence", "bytes", ("prefill",), _state),
    _counted("energy", "Energy per token", "J/token", COST_PHASES, _energy),
    _largest("largest_batch", "Largest batch", "sequences", "batch"),
    _largest("greatest_length", "Greatest length", "tokens", "seq_len"),
    _counted(
        "parameters",
        "Parameters without embeddings",
        "parameters",
        ("quality", *COST_PHASES),
        _parameters,
    ),
)
METRICS = {metric.name: metric for metric in _ROWS}


def _named(name: str) -> Metric:
    return METRICS[name]
