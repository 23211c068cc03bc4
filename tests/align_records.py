"""Alignments that never ran, whose lift, accuracies and rewards are planted."""

import math
from typing import Any

import numpy as np

from results import (
    Answered,
    BestOf,
    Collected,
    Lesson,
    Optimised,
    Reached,
    Record,
    Scorer,
    Spent,
)
from tests.claim_records import OPS
from tests.report_records import record

PROMPTS, PAIRS, NS = 200, (512, 2048, 8192), tuple(2**i for i in range(9))


def answered(exact: float, gold: float, luck: float = 0.0) -> Answered:
    """Gold rewards of two values about that mean."""
    rewards = tuple(gold + luck + (0.1 if i % 2 else -0.1) for i in range(PROMPTS))
    right = round(exact * PROMPTS)
    return Answered(
        prompts=PROMPTS, answer_tokens=6 * PROMPTS, nats=300.0, exact=right, gold=rewards
    )


def chosen(pairs: int, noise: float, peak: int, gold: float, luck: float) -> list[BestOf]:
    """Gold that rises to n = 2^peak and then falls, while proxy rises."""
    return [
        BestOf(
            pairs=pairs,
            noise=noise,
            n=n,
            samples=NS[-1],
            proxy=(0.3 * i, 0.3 * i),
            gold=(gold + luck + 0.05 * (min(i, peak) - max(0, i - peak)),) * 2,
        )
        for i, n in enumerate(NS)
    ]


def moved(method: Any, beta: float, gold: float, by: float, luck: float) -> Optimised:
    works = ("update",) if method == "dpo" else ("generate", "update")
    return Optimised(
        method=method,
        beta=beta,
        pairs=2048,
        reached=tuple(
            Reached(
                step=10 * i,
                answers=100,
                kl_nats=100 * 0.2 * i,
                proxy=100 * 0.3 * i,
                gold=100 * (gold + by * i / 5),
            )
            for i in range(6)
        ),
        spent=tuple(
            Spent(
                work=w, tokens=1000, step_s=(0.1, 0.2, 0.1), peak_bytes=2**20, peak_method="planted"
            )
            for w in works
        ),
        answered=answered(0.9, gold + by, luck),
    )


def aligned(
    arch: str,
    *,
    lift: float = 2.0,
    right: float = 0.8,
    peak: int = 3,
    helps: float = 0.1,
    seeds: int = 3,
    scatter: float = 0.01,
    **given: Any,
) -> list[Record]:
    """Of a base of which 0.3 is right; `right` is the reward model's accuracy at 2,048 pairs."""
    random, runs = np.random.default_rng([7, *arch.encode()]), []
    for seed in range(seeds):
        luck = random.normal(0, scatter)
        before, after = answered(0.3, 0.4), answered(0.3 * lift * math.exp(luck), 0.6, luck)
        steps = {"pretrained": before, "pretrained on": before, "fine-tuned": after}
        share = {512: right - 0.1, 2048: right, 8192: right + 0.05}
        asked = [*((pairs, 0.0) for pairs in PAIRS), (2048, 0.25)]
        runs.append(
            record(
                "align",
                arch,
                seed=seed,
                kernels=OPS[arch],
                **({"tokens": 1000, "lr": 1e-3, "instructions": "rules", "pairs": 8192} | given),
                lessons=tuple(
                    Lesson(taught=taught, train_nats=(1.0,) * 20, train_s=1.0, answered=told)
                    for taught, told in steps.items()
                ),
                collected=Collected(pairs=8192, held_out=1000, drawn=20_000),
                scorers=tuple(
                    Scorer(
                        pairs=pairs,
                        noise=noise,
                        train_nats=(0.5,) * 20,
                        asked=1000,
                        right=round(1000 * (share[pairs] - 0.3 * noise + luck)),
                    )
                    for pairs, noise in asked
                ),
                best_of=tuple(
                    each for pairs, noise in asked for each in chosen(pairs, noise, peak, 0.6, luck)
                ),
                optimised=(
                    moved("dpo", 0.1, 0.6, helps, luck),
                    moved("rloo", 0.02, 0.6, -0.2, luck),
                    moved("rloo", 0.2, 0.6, helps, luck + random.normal(0, scatter)),
                ),
            )
        )
    return runs
