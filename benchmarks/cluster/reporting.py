"""What whoever waits for a cluster is told."""

import time
from collections import Counter
from collections.abc import Sequence

from benchmarks.cluster.job import Answer
from benchmarks.progress import Progress
from results import Case


class Report:
    """Prints a line for each answer, with what is left; counts what came of them."""

    def __init__(self, cases: Sequence[Case], pack: int) -> None:
        self.cases, self.pack = {str(case): case for case in cases}, pack
        self.progress, self.began_s = Progress(cases, pack), time.monotonic()
        self.statuses, self.answers = Counter[str](), list[Answer]()

    def seats(self, count: int) -> None:
        """So many are there now."""
        self.progress.timers, self.progress.cores = max(1, count), max(1, count) * self.pack

    def note(self, sentence: str) -> None:
        print(sentence, flush=True)

    def answer(self, answer: Answer) -> None:
        self.answers.append(answer)
        self.statuses[answer.status] += 1
        case = self.cases[answer.case]
        line = self.progress.line(case, answer.status, answer.reason, answer.took_s)
        print(line, flush=True)

    @property
    def failed(self) -> bool:
        return any(answer.failed for answer in self.answers)

    def summary(self) -> str:
        counts = ", ".join(f"{number} {what}" for what, number in self.statuses.most_common())
        left = len(self.cases) - len(self.answers)
        return f"{counts or 'no answer'}, {left} left, in {time.monotonic() - self.began_s:.0f} s"
