"""The report in a few sentences: who is on the frontier, from the cheapest to the best."""

from collections.abc import Sequence

from report.compare import QUALITY, Comparison
from report.plots.words import listed
from report.units import show, show_length


def _count(number: int, of: int) -> str:
    return f"all {of}" if number == of else f"{number} of {of}"


def _path(found: Comparison) -> tuple[str, str]:
    """One panel's frontier, each point with its cost and perplexity."""
    metric, at = found.panel.metric, found.cost
    unit = " tokens/s" if metric.unit == "tokens/s" else ""
    ahead = found.points[found.points["on_frontier"]]
    ahead = ahead.sort_values("cost", ascending=metric.better == "lower")
    names = [
        f"{point['arch']} ({show(point['cost'], metric.unit)}{unit * (i == 0)}, "
        f"{show(point['perplexity'], QUALITY.unit)})"
        for i, point in enumerate(ahead.to_dict("records"))
    ]
    whole = " → ".join(names) if len(names) > 1 else f"{names[0]} before all others"
    where = f"{show_length(at.seq_len)} tokens, batch {at.batch}"
    return f"{found.panel.name.capitalize()}, {where}", whole


def answer(found: Sequence[Comparison]) -> list[tuple[str, str]]:
    """Heads and what to say: the best quality, each panel's frontier, who is on none."""
    if not found:
        return []
    led = [one.leaders for one in found]
    best = found[0].points.sort_values("perplexity").to_dict("records")[0]
    times = sum(best["arch"] in leaders for leaders in led)
    names = sorted({str(arch) for one in found for arch in one.points["arch"]})
    never = [name for name in names if not any(name in leaders for leaders in led)]
    return [
        (
            "Best quality",
            f"{best['arch']}, test perplexity {show(best['perplexity'], QUALITY.unit)}, on "
            f"{_count(times, len(found))} frontiers",
        ),
        *map(_path, found),
        *([("On no frontier", listed(never))] if never else []),
    ]
