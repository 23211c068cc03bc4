"""Records whose truth is known: planted growths, losses, answers and pasts, to be judged."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from msgspec.structs import replace

from report.attainment import attained, reference
from report.choice import best_learning_rates
from report.claims import Evidence
from report.compare import comparisons
from report.table import tidy
from results import Codec, Coding, Progress, Record, Remembrance, Tally
from tests.report_records import quality, record

LENGTHS = (64, 256, 1024, 4096, 16384)
# what ran in an architecture of each family; the names are no real architecture's
OPS = {
    "attentive": {"attention": "sdpa"},
    "mixed": {"attention": "sdpa", "ssd": "chunked"},
    "scanning": {"selective_scan": "blocked"},
    "minimal": {"linear_scan": "folded"},
    "elman": {"elman": "stored"},
    "gated": {"gate": "stored"},
}


def evidence(records: Iterable[Record]) -> Evidence:
    records = list(records)
    chosen = list(best_learning_rates(records))
    rows = tidy(records)
    return Evidence(
        records=records,
        rows=rows,
        chosen=chosen,
        attained=[attained(one, records, chosen, reference([one])) for one in comparisons(rows)],
    )


def timed(
    phase: str,
    arch: str,
    power: float,
    noise: float = 0.0,
    seed: int = 0,
    lengths: Sequence[int] = LENGTHS,
    **given: Any,
) -> list[Record]:
    """Steps whose time grows with that power of length, give or take `noise` in log."""
    random = np.random.default_rng(seed)
    records = []
    for length in lengths:
        batch = lengths[-1] // length if phase != "decode" else 1
        step_s = 1e-3 * (length / lengths[0]) ** power * math.exp(random.normal(0, noise))
        steps = tuple(step_s * random.normal(1, 0.01, 20).clip(0.5))
        each = {"seq_len": length, "batch": batch, "step_s": steps, "kernels": OPS[arch]}
        records.append(record(phase, arch, **(each | given)))
    return records


def read(arch: str, power: float, lengths: Sequence[int] = LENGTHS) -> list[Record]:
    """Prefills that leave a state of that growth."""
    return [
        record(
            "prefill",
            arch,
            seq_len=length,
            step_s=(0.01,) * 5,
            state_bytes=round(4096 * (length / lengths[0]) ** power),
            kernels=OPS[arch],
        )
        for length in lengths
    ]


def trained(
    arch: str, nats: float, seeds: int = 3, scatter: float = 0.002, luck: int = 0, **given: Any
) -> list[Record]:
    """Quality runs of that test loss: seeds move all architectures alike, and each a little."""
    shared, own = np.random.default_rng(99), np.random.default_rng([luck, *arch.encode()])
    runs = []
    for seed in range(seeds):
        loss = nats + shared.normal(0, 0.02) + own.normal(0, scatter)
        perplexity = math.exp(loss)
        setting = {"seed": seed, "kernels": OPS[arch]}
        runs.append(quality(arch, perplexity, perplexity, **(setting | given)))
    return runs


def remembering(arch: str, context: int, phase: str = "quality", **given: Any) -> list[Record]:
    """Runs whose predictions settle after `context` tokens."""
    kept = tuple(2**i for i in range(10))
    distance = (*(64 * 0.02 * 1.01 * context / k for k in kept[:-1]), 0.0)
    past = Remembrance(kept=kept, windows=64, distance=distance, nats=(100.0,) * len(kept))
    return [
        quality(arch, 4.0, 4.0, seed=seed, kernels=OPS[arch], remembrance=past, **given)
        for seed in range(3)
    ]


def codecs(warmed: dict[str, float], text_bytes: int = 2**15) -> tuple[Codec, ...]:
    """Compressors that take so many bits a byte behind training text, and half a bit more alone."""
    training_bytes = 10**6
    return tuple(
        Codec(
            name=name,
            setting="level 9",
            version="lib 1.0",
            coded=coded,
            whole_bytes=whole_bytes,
            coded_bytes=coded_bytes,
            encode_s=(whole_bytes / 1e6,),
            decode_s=(whole_bytes / 4e6,),
        )
        for name, rate in warmed.items()
        for coded, whole_bytes, coded_bytes in (
            ("text", text_bytes, round((rate + 0.5) * text_bytes / 8)),
            ("training", training_bytes, training_bytes // 4),
            (
                "both",
                training_bytes + text_bytes,
                training_bytes // 4 + round(rate * text_bytes / 8),
            ),
        )
    )


def compressed(
    arch: str, rate: float, seeds: int = 3, scatter: float = 0.005, **given: Any
) -> list[Record]:
    """Models of so many bits a byte, beside compressors whose best takes 1.5."""
    random, text_bytes, runs = np.random.default_rng(list(arch.encode())), 2**15, []
    for seed in range(seeds):
        own = rate + random.normal(0, scatter)
        coding = Coding(
            lanes=16,
            text_bytes=text_bytes,
            coded_bytes=round(own * text_bytes / 8),
            ideal_nats=own * text_bytes * math.log(2) / 1.001,
            encode_s=2.0,
            decode_s=2.5,
        )
        told = {"coding": coding, "codecs": codecs({"swift": 2.0, "thorough": 1.5})}
        (whole,) = [quality(arch, 2**own, 2**own, seed=seed, kernels=OPS[arch], **told, **given)]
        runs.append(replace(whole, case=replace(whole.case, phase="compress")))
    return runs


def answers(
    phase: str,
    task: str,
    arch: str,
    right: float,
    *,
    load: int = 16,
    seeds: int = 3,
    steps: int = 3000,
    solved_at: int | None = None,
    lengths: Sequence[int] = (64, 128),
    rising: float = 0.0,
    scatter: float = 0.002,
    **given: Any,
) -> list[Record]:
    """Runs of a task with that share of right answers; `rising` nats beyond Bayes a doubling."""
    random = np.random.default_rng(list(arch.encode()))
    edges = (1, 2, 4, 8, 16, 32)
    runs = []
    for seed in range(seeds):
        share = float(np.clip(right + random.normal(0, scatter), 0, 1))
        slope = rising + random.normal(0, scatter / 10)
        tallies = [
            Tally(
                split=split,
                seq_len=length,
                binned_by="position" if phase == "markov" else "distance",
                edges=edges,
                answers=(1000,) * len(edges),
                right=(round(1000 * share),) * len(edges),
                nats=tuple(1000 * (1.0 + 0.1 * (1 - share) + slope * i) for i in range(len(edges))),
                bayes_nats=(1000.0,) * len(edges) if phase == "markov" else (),
            )
            for split, length in [("valid", lengths[0]), *(("test", n) for n in lengths)]
        ]
        progress = [
            Progress(step=step, answers=100, right=100 if solved_at and step >= solved_at else 5)
            for step in range(100, steps + 1, 100)
        ]
        case = {"seq_len": lengths[0], "tokens": 10**6, "lr": 1e-3, "task": task, "load": load}
        more = {"state_bytes": 1024, "kernels": OPS[arch], "batch": 4}
        runs.append(
            record(
                phase,
                arch,
                seed=seed,
                tallies=tuple(tallies),
                progress=tuple(progress),
                **(case | more | given),
            )
        )
    return runs
