"""The sentences on figures: in which setting, how many seeds, who is missing and why."""

from collections.abc import Sequence

import pandas as pd

from report.choice import Setting, unusual
from report.units import show_count, show_length

NAMED = 4  # names in a row before the rest is only counted


def listed(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def named(names: Sequence[str]) -> str:
    """As many names as a line has room for, and how many more there are."""
    more = f" +{len(names) - NAMED}" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def absent(reasons: dict[str, str]) -> str:
    """Who is missing and why, in one line."""
    grouped = [
        f"{named([arch for arch, why in reasons.items() if why == reason])} ({reason})"
        for reason in sorted(set(reasons.values()))
    ]
    return "not drawn: " + "; ".join(grouped) if grouped else ""


def cost_setting(setting: Setting) -> str:
    length = "context" if setting.phase == "decode" else "length"
    where = f"{length} {show_length(setting.seq_len)}"
    how = [setting.dtype, *unusual(setting.mode, setting.kernel, setting.short_conv, setting.ranks)]
    return " · ".join([setting.phase, where, f"batch {setting.batch}", *how])


def quality_setting(setting: Setting, seeds: pd.Series) -> str:
    few, many = int(seeds.min()), int(seeds.max())
    counted = f"{few} seed" + "s" * (few != 1) if few == many else f"{few} to {many} seeds"
    how = [setting.dtype, *unusual(setting.mode, setting.kernel, setting.short_conv, setting.ranks)]
    return (
        f"test perplexity at its trained context {show_length(setting.seq_len)}, after "
        f"{budget(setting)} of {setting.corpus} "
        f"({', '.join([f'batch {setting.batch}', *how, counted])})"
    )


def budget(setting: Setting) -> str:
    """What each architecture was trained for, the same for all."""
    if setting.flops:
        return f"{setting.flops:.2g} FLOPs"
    kind = "" if setting.tokenizer == "bytes" else f" ({setting.tokenizer})"
    return f"{show_count(setting.tokens)} tokens{kind}"


def batches(rows: pd.DataFrame) -> str:
    """The batch in words, or the tokens of a step where the batch shrinks with length."""
    sizes = sorted(set(rows["batch"]))
    if len(sizes) == 1:
        return f"batch {sizes[0]}"
    steps = set(rows["batch"] * rows["seq_len"])
    if len(steps) == 1:
        return f"{steps.pop():,} tokens a step"
    return f"batch {sizes[0]} to {sizes[-1]}, by length"
