"""Trunks trained masked or to go on that never ran, with planted shares of right answers."""

import numpy as np
from msgspec.structs import replace

from results import Evaluation, Gaps, LinearProbe
from tests.report_records import quality

ASKED = 10_000


def pseudo(nats=2.0, length=64):
    return Evaluation(
        split="test",
        context=length,
        position_edges=(length - 1,),
        nats=(nats * ASKED,),
        tokens=(ASKED,),
        target_bytes=ASKED,
    )


def understood(arch="reader", masked=None, right=0.5, sections=0.4, seeds=3, scatter=0.004):
    """A Record a seed: of gaps of 1 that share is filled, of gaps of 4 half of it."""
    random = np.random.default_rng([round(100 * (masked or 0)), *arch.encode()])
    found = []
    for seed in range(seeds):

        def near(share):
            return round(ASKED * (share + random.normal(0, scatter)))

        made = quality(arch, seed=seed, kernels={"attention": "sdpa"})
        gaps = tuple(
            Gaps(length=n, gaps=ASKED // n, tokens_right=near(right / n**0.5), gaps_right=100)
            for n in (1, 4)
        )
        probes = tuple(
            LinearProbe(
                trained=trained, sections=8, fitted=ASKED, l2=0.01, asked=ASKED, right=near(share)
            )
            for trained, share in ((False, 0.2), (True, sections))
        )
        found.append(
            replace(
                made,
                case=replace(made.case, phase="infill", masked=masked),
                gaps=gaps,
                linear_probes=probes,
                pseudo=None if masked is None else pseudo(),
                forward_flops=1000,
                train_s=2.0,
            )
        )
    return found
