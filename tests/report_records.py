"""Records of machines that do not exist, for the tests of report/."""

import math
from collections.abc import Iterable
from typing import Any

from results import Case, Evaluation, Record

LENGTHS = (128, 512, 2048, 8192)
EDGES = (0, 16, 64, 256)
# perplexity, training tokens/s, decode tokens/s, MiB at length 128, growth of memory and state
ARCHS = {
    "gpt2": (4.3, 260e3, 900, 90, 1.25, 1.0),
    "gru": (4.9, 120e3, 2600, 70, 1.0, 0.0),
    "hybrid": (3.9, 190e3, 1300, 95, 1.05, 0.6),
    "llama": (4.05, 240e3, 950, 85, 1.2, 1.0),
    "lstm": (4.7, 110e3, 2450, 75, 1.0, 0.0),
    "mamba": (4.0, 150e3, 1900, 110, 1.0, 0.0),
    "mamba2": (4.02, 210e3, 1750, 100, 1.0, 0.0),
    "mingru": (4.6, 230e3, 2500, 80, 1.0, 0.0),
    "rnn": (11.5, 140e3, 2800, 60, 1.0, 0.0),
}


def record(phase: str, arch: str = "gru", **given: Any) -> Record:
    """A Record with every required field; `given` goes to the Case or to the Record by name."""
    case = {"size": "tiny", "seq_len": 128, "batch": 1, "dtype": "float32", "seed": 0}
    if phase == "quality":
        case |= {"tokens": 1000, "lr": 1e-3, "corpus": "sotu"}
    case |= {name: given.pop(name) for name in list(given) if name in Case.__annotations__}
    whole = {
        "label": "cpu-test",
        "status": "ok",
        "measured_at": "2026-01-02T03:04:05+00:00",
        "commit": "abc1234",
        "versions": {"torch": "2.13.0", "python": "3.11"},
        "machine": {"cpu": "Imaginary 3000", "cores": 2},
        "params": 1_050_000,
        "embedding_params": 50_000,
        **given,
    }
    return Record(case=Case(phase=phase, arch=arch, **case), **whole)


def held_out(split: str, context: int, nats_per_token: float) -> Evaluation:
    edges = tuple(edge for edge in EDGES if edge < context)
    widths = [end - start for start, end in zip(edges, (*edges[1:], context), strict=True)]
    # early positions know less of the past; the mean stays what was asked for
    excess = [1 / (1 + i) for i in range(len(edges))]
    mean = sum(w * e for w, e in zip(widths, excess, strict=True)) / context
    nats = [
        100 * width * nats_per_token * (1 + 0.2 * (more - mean))
        for width, more in zip(widths, excess, strict=True)
    ]
    return Evaluation(
        split=split,
        context=context,
        position_edges=edges,
        nats=tuple(nats),
        tokens=tuple(100 * w for w in widths),
        target_bytes=100 * context,
    )


def quality(arch: str = "gru", valid: float = 5.0, test: float = 5.0, **given: Any) -> Record:
    """A trained model of that validation and test perplexity."""
    seq_len = given.setdefault("seq_len", 512)
    given.setdefault("corpus_sha256", "f" * 64)
    further = given.pop("further", {})
    evaluations = [
        held_out("valid", seq_len, math.log(valid)),
        held_out("test", seq_len, math.log(test)),
        *(held_out("test", context, math.log(value)) for context, value in further.items()),
    ]
    return record("quality", arch, evaluations=tuple(evaluations), **given)


def _steps(seconds: float) -> tuple[float, ...]:
    return tuple(seconds * factor for factor in (1.04, 1.0, 0.99, 1.01, 1.0, 1.1, 0.98))


def _costs(arch: str, length: int, **given: Any) -> list[Record]:
    _, train, decode, mib, growth, state = ARCHS[arch]
    times = length / LENGTHS[0]
    oom = arch == "gpt2" and length == LENGTHS[-1]
    late = arch == "rnn" and length == LENGTHS[-1]
    rate = train * times ** (0.1 - (growth - 1))
    shared = {"seq_len": length, **given}
    failed = {"status": "oom", "reason": "CUDA out of memory"} if oom else {}
    failed = {"status": "timeout", "reason": "took more than 60 s"} if late else failed
    batch = max(1, 8192 // length)
    training = {
        "step_s": _steps(batch * length / rate),
        "peak_bytes": int(mib * times**growth * 2**20),
    }
    reading = {
        "step_s": _steps(8 * length / rate / 3),
        "peak_bytes": int(mib * times * 2**19),
        "state_bytes": 8 * int(40_000 * times**state * (2 if arch in ("gpt2", "mamba") else 1)),
    }
    writing = {
        "step_s": _steps(8 / (decode / times ** (state / 3))),
        "peak_bytes": int(mib * 2**18 * times**state),
    }
    return [
        record("train", arch, batch=batch, **shared, **(failed or training)),
        record("prefill", arch, batch=8, **shared, **(failed or reading)),
        record("decode", arch, batch=8, **shared, **writing),
    ]


def _trained(arch: str, seed: int, **given: Any) -> list[Record]:
    """Three learning rates, the middle one best; attention forgets beyond its trained length."""
    value, state = ARCHS[arch][0], ARCHS[arch][5]
    trained = []
    for lr, worse in ((1e-3, 1.05), (3e-3, 1.0), (1e-2, 1.1)):
        loss = value * worse * (1 + 0.01 * seed)
        doublings = {context: math.log2(context / 512) for context in (128, 2048, 8192)}
        further = {
            context: loss * (1 + 0.3 * state * max(0, far) - 0.02 * far)
            for context, far in doublings.items()
        }
        setting = {"lr": lr, "seed": seed, "tokens": 20_000_000, "batch": 16, "further": further}
        trained.append(quality(arch, loss, loss * 1.01, **setting, **given))
    return trained


def machine(archs: Iterable[str] = tuple(ARCHS), seeds: int = 1, **given: Any) -> list[Record]:
    """A whole sweep: every phase at every length, one OOM, one timeout, one poor model."""
    records: list[Record] = []
    for arch in archs:
        records += [r for seed in range(seeds) for r in _trained(arch, seed, **given)]
        records += [r for length in LENGTHS for r in _costs(arch, length, **given)]
    return records
