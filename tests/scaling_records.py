"""Trainings of many sizes that never ran, whose losses follow a planted law."""

import math

import numpy as np
from msgspec.structs import replace

from report.scaling import Law
from results import Progress
from tests.report_records import quality

# Besiroglu et al., Chinchilla Scaling: A replication attempt, 2024: the law that fits its data
LAW = Law(E=1.82, A=482.0, alpha=0.348, B=2085.0, beta=0.366)
SIZES = [round(10**x) for x in np.linspace(6.5, 9.5, 7)]
BUDGETS = [10**18, 10**19, 10**20, 10**21]


def planted(law=LAW, noise=0.0, arch="gru", sizes=SIZES, budgets=BUDGETS):
    random, found = np.random.default_rng(0), []
    for flops in budgets:
        for params in sizes:
            tokens = flops // (6 * params)
            nats = law.nats(np.array([params]), np.array([tokens]))[0]
            made = quality(arch, test=math.exp(nats * math.exp(noise * random.standard_normal())))
            case = replace(
                made.case, phase="scaling", size=f"p{params}", flops=flops, tokens=tokens
            )
            found.append(replace(made, case=case, params=params))
    return found


def again(losses, seed=0, arch="gru"):
    """Trainings of each size whose validation loss falls to `losses` and rises again."""
    found = []
    for params, nats in zip((1000, 2000, 4000, 8000), losses, strict=True):
        made = quality(arch, seed=seed)
        case = replace(
            made.case, phase="scaling", size=f"p{params}", unique_bytes=2**14, tokens=2**18
        )
        curve = (2 * nats, nats, 1.5 * nats)
        progress = tuple(
            Progress(step=i, answers=100, nats=100 * each) for i, each in enumerate(curve)
        )
        found.append(replace(made, case=case, params=params, progress=progress))
    return found


def broken(records):
    """The greatest budget's losses a tenth higher than the law has them."""
    greatest = max(record.case.flops for record in records)
    return [
        replace(
            record,
            evaluations=tuple(
                replace(e, nats=tuple(1.1 * nats for nats in e.nats)) for e in record.evaluations
            ),
        )
        if record.case.flops == greatest
        else record
        for record in records
    ]


def seeds(losses, count=3):
    return [r for s in range(count) for r in again([nats * (1 + 1e-4 * s) for nats in losses], s)]


FLAT = Law(E=2.0, A=0.0, alpha=0.3, B=0.0, beta=0.3)
