"""Who is better than whom in quality, beyond two sigma of the difference over seeds."""

from collections.abc import Sequence
from statistics import fmean

import pandas as pd

from report.choice import Chosen, Setting
from report.compare import QUALITY, by_seed
from report.statistics import beats, mean
from report.units import show

NOBODY = "–"


def _interval(seeds: dict[int, float]) -> str:
    whole = mean(list(seeds.values()))
    if whole is None:
        return "unknown: one seed"
    return f"{show(whole.low, QUALITY.unit)} to {show(whole.high, QUALITY.unit)}"


def ranking(chosen: Sequence[Chosen], setting: Setting | None) -> pd.DataFrame:
    """One line for each architecture, best first. Empty where no quality was measured."""
    seeds = by_seed(chosen, setting) if setting else {}
    means = {arch: fmean(values.values()) for arch, values in seeds.items()}
    order = sorted(means, key=means.__getitem__)
    return pd.DataFrame(
        [
            {
                "architecture": arch,
                QUALITY.label.lower(): show(means[arch], QUALITY.unit),
                "at two sigma": _interval(seeds[arch]),
                "seeds": str(len(seeds[arch])),
                "better than": ", ".join(n for n in order if beats(seeds[arch], seeds[n]))
                or NOBODY,
            }
            for arch in order
        ]
    )
