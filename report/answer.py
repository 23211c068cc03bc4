"""The report in a few sentences: who is on the frontier, from the cheapest to the best."""

from collections.abc import Sequence

from report.compare import QUALITY, Comparison
from report.plots.words import cost_setting, listed
from report.units import show


def _count(number: int, of: int) -> str:
    return f"all {of}" if number == of else f"{number} of {of}"


def _path(found: Comparison) -> str:
    """One panel's frontier, each point with its cost and perplexity."""
    metric = found.panel.metric
    unit = " tokens/s" if metric.unit == "tokens/s" else ""
    ahead = found.points[found.points["on_frontier"]]
    ahead = ahead.sort_values("cost", ascending=metric.better == "lower")
    names = [
        f"{point['arch']} ({show(point['cost'], metric.unit)}{unit}, "
        f"{show(point['perplexity'], QUALITY.unit)})"
        for point in ahead.to_dict("records")
    ]
    reached = f"{names[0]} alone beats or equals all others" if len(names) == 1 else listed(names)
    return f"{found.panel.name.capitalize()} ({cost_setting(found.cost)}): {reached}."


def answer(found: Sequence[Comparison]) -> list[str]:
    """Who has the best quality, each panel's frontier, who is on none. Empty without a panel."""
    if not found:
        return []
    led = [one.leaders for one in found]
    points = found[0].points.sort_values("perplexity")
    best = points.to_dict("records")[0]
    times = sum(best["arch"] in leaders for leaders in led)
    names = sorted({str(arch) for one in found for arch in one.points["arch"]})
    never = [name for name in names if not any(name in leaders for leaders in led)]
    return [
        f"Best quality: {best['arch']}, test perplexity {show(best['perplexity'], QUALITY.unit)}; "
        f"it is on {_count(times, len(found))} frontiers of quality against cost.",
        *(_path(one) for one in found),
        *([f"On none of them: {listed(never)}."] if never else []),
    ]
