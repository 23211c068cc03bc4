"""The cells that nobody has yet, and who gets the next."""

from collections import Counter, deque
from collections.abc import Iterable

from benchmarks.cluster.job import LOST, is_timed
from results import Case


class Hand:
    """Timed cells first, one to a seat; then training cells, as many to a seat as it packs."""

    def __init__(self, cases: Iterable[Case], pack: int) -> None:
        self.timed: deque[Case] = deque()
        self.training: deque[Case] = deque()
        self.pack, self.lost = pack, Counter[Case]()
        for case in cases:
            (self.timed if is_timed(case) else self.training).append(case)

    def __len__(self) -> int:
        return len(self.timed) + len(self.training)

    def deal(self, busy_with: list[Case]) -> Case | None:
        """The next for a seat that is busy with these; None: there is none for it now."""
        if self.timed:  # which waits until the seat is free
            return None if busy_with else self.timed.popleft()
        if len(busy_with) >= self.pack or any(map(is_timed, busy_with)) or not self.training:
            return None
        return self.training.popleft()

    def take_back(self, case: Case) -> bool:
        """Of a seat that was lost; False: too often, it is not dealt again."""
        self.lost[case] += 1
        if self.lost[case] >= LOST:
            return False
        (self.timed if is_timed(case) else self.training).appendleft(case)
        return True
