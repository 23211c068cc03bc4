"""One line a cell: what came of it, how long it took, and when the sweep should end."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from statistics import fmean

from results import Case
from results.schema import LEARNED
from results.text import visible


class Progress:
    def __init__(self, cases: Sequence[Case], cores: int) -> None:
        """`cores` train at once; the timed cells go one by one, or on several machines `timers`."""
        self.cores, self.timers = cores, 1
        self.left = Counter(case.phase for case in cases)
        self.took_s: dict[str, list[float]] = defaultdict(list)
        self.total, self.done = len(cases), 0

    def line(self, case: Case, status: str, reason: str | None, took_s: float | None) -> str:
        """`took_s` is None for a cell that was there already."""
        self.done += 1
        self.left[case.phase] -= 1
        if took_s is not None:
            self.took_s[case.phase].append(took_s)
        place = f"[{self.done:>{len(str(self.total))}}/{self.total}]"
        why = f": {visible(reason)}" if reason else ""
        took = f"  {took_s:.1f} s" if took_s is not None else ""
        return f"{place} {case}  {status}{why}{took}{self._eta()}"

    def _eta(self) -> str:
        """From the mean of each phase's cells so far; of all cells for a phase not yet met."""
        means = {phase: fmean(took) for phase, took in self.took_s.items()}
        if not means or self.done == self.total:
            return ""
        overall = fmean(means.values())
        left_s = sum(
            count * means.get(phase, overall) / (self.cores if phase in LEARNED else self.timers)
            for phase, count in self.left.items()
        )
        return (
            f"  about {left_s / 60:.1f} min left"
            if left_s >= 60
            else f"  about {left_s:.0f} s left"
        )
