"""What a submit would do, how long that takes and what it costs, before anything is started.

A cell is expected to take the median of what like cells took, those that differ in seed and
learning rate only, in Records of the same device. A cell that has none like it has no estimate: it
is counted, named, and bounded by its limit.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from msgspec.structs import replace

import results
from benchmarks import corpus, machine, sweep
from benchmarks.align.chats import DIALOGUES
from benchmarks.cluster.job import is_timed
from results import Case, Record
from results.schema import record_path


def like(case: Case) -> Case:
    """The same for all cells that take as long."""
    return replace(case, seed=0, lr=None)


class Estimates:
    """Seconds by like cells."""

    def __init__(self, records: Sequence[Record], device: str) -> None:
        took_s, labels = defaultdict[Case, list[float]](list), Counter[str]()
        for record in records:
            of_device = record.machine.get("device") == device
            if of_device and record.status == "ok" and record.took_s is not None:
                took_s[like(record.case)].append(record.took_s)
                labels[record.label] += 1
        self.median_s = {case: median(seconds) for case, seconds in took_s.items()}
        self.labels = labels

    def of(self, case: Case) -> float | None:
        return self.median_s.get(like(case))

    def source(self) -> str:
        if not self.labels:
            return "no Records of this device to estimate from"
        where = ", ".join(f"{label} ({count})" for label, count in sorted(self.labels.items()))
        return (
            "estimate: the median of what like cells took, all but seed and learning rate the "
            f"same, in the Records of {where}; another machine takes another time"
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    device: str
    cases: tuple[Case, ...]
    had: frozenset[Case]  # of the label, if one was given
    estimate_s: dict[Case, float]  # of those to do that have one
    source: str
    sources: tuple[str, ...]  # what loads the text again, from any folder

    @property
    def todo(self) -> list[Case]:
        return [case for case in self.cases if case not in self.had]

    def seat_s(self, case: Case, pack: int) -> float | None:
        """Of a GPU, or of a node: a training cell shares it."""
        alone_s = self.estimate_s.get(case)
        return alone_s if alone_s is None or is_timed(case) else alone_s / pack


def make(options: argparse.Namespace) -> Plan:
    """Raises ValueError where `options` name what does not exist or cannot be sent to a cluster."""
    if options.ranks is not None:
        raise ValueError(
            "submit: a cell of several ranks is not sent to a cluster; torchrun starts it, from "
            "`python -m benchmarks list --ranks N --shard … --jobs DIR` (docs/large-models.md)"
        )
    sweep.check(options)
    if options.sft not in ([], [DIALOGUES]):
        raise ValueError(
            "submit: chats of one's own are kept on this machine and not sent to a cluster; "
            f"run pytest benchmarks here, or use --sft {DIALOGUES}"
        )
    device = options.device or machine.pick_device(None)
    text = None
    if sweep.reads_text(options):
        text = corpus.load(options.corpus, options.tokenizer)
    cases = sweep.cases(options, device, text.name if text else "")
    records = _records(options)
    labelled = [record for record in records if record.label == options.label]
    estimates = Estimates(labelled, device)
    if not estimates.labels:
        estimates = Estimates(records, device)
    had = _had(cases, labelled, options)
    seconds = {case: estimates.of(case) for case in cases if case not in had}
    return Plan(
        device=device,
        cases=tuple(cases),
        had=had,
        estimate_s={case: s for case, s in seconds.items() if s is not None},
        source=estimates.source(),
        sources=text.sources if text else tuple(options.corpus),
    )


def _records(options: argparse.Namespace) -> list[Record]:
    return results.load(root=options.results).records if options.results.is_dir() else []


def _had(
    cases: Sequence[Case], labelled: Sequence[Record], options: argparse.Namespace
) -> frozenset[Case]:
    """Those that need no node: their Record is there, and no error, or cannot be read."""
    if options.fresh or options.label is None:
        return frozenset()
    errors = {record.case for record in labelled if record.status == "error"}
    exist = (case for case in cases if record_path(case, options.label, options.results).exists())
    return frozenset(case for case in exist if case not in errors)


def told(plan: Plan, options: argparse.Namespace) -> Iterator[str]:
    """The plan, in lines."""
    unit = "GPU-hours" if plan.device == "cuda" else "node-hours"
    folder = options.results / (options.label or "the label of each node")
    yield f"{len(plan.cases)} cells for {plan.device} into {folder}"
    yield f"{'phase':<10}{'cells':>8}{'had':>8}{'to do':>8}{unit:>12}{'no estimate':>13}"
    phases = list(dict.fromkeys(case.phase for case in plan.cases))
    for name, among in [(p, {p}) for p in phases] + [("all", set(phases))]:
        cells = [case for case in plan.cases if case.phase in among]
        todo = [case for case in cells if case not in plan.had]
        known_s = [s for case in todo if (s := plan.seat_s(case, options.pack)) is not None]
        yield (
            f"{name:<10}{len(cells):>8}{len(cells) - len(todo):>8}{len(todo):>8}"
            f"{sum(known_s) / 3600:>12.2f}{len(todo) - len(known_s):>13}"
        )
    if options.label is None:
        yield "what is had is known on the nodes only: each looks into the folder of its own label"
    yield plan.source
    if options.pack > 1:
        yield f"training cells: {options.pack} at once, each taken to be as quick as alone"
    yield from _unknown(plan, options, unit)
    yield from _cost(plan, options, unit)


def _unknown(plan: Plan, options: argparse.Namespace, unit: str) -> Iterator[str]:
    unknown = [case for case in plan.todo if case not in plan.estimate_s]
    if unknown:
        names = Counter(f"{case.phase} {case.arch} {case.size}" for case in unknown)
        most_s = sum(options.timeout / (1 if is_timed(c) else options.pack) for c in unknown)
        yield (
            f"no estimate for {len(unknown)} cells, by --timeout at most {most_s / 3600:.2f} "
            f"{unit} more: {', '.join(f'{name} ({count})' for name, count in names.items())}"
        )


def _cost(plan: Plan, options: argparse.Namespace, unit: str) -> Iterator[str]:
    known_s = sum(plan.seat_s(case, options.pack) or 0.0 for case in plan.todo)
    yield (
        f"in all {known_s / 3600:.2f} {unit} for {len(plan.estimate_s)} cells with an estimate; "
        "waiting in a queue and starting processes, seconds each, come on top"
    )
    if options.price is not None:
        yield (
            f"cost of these at {options.price:g} for one of the {unit}: "
            f"{known_s / 3600 * options.price:.2f}"
        )
