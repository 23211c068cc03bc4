"""What the nodes are told, and what they answer. Plain data, so that it travels."""

from dataclasses import dataclass
from pathlib import Path

from results import Case
from results.schema import LEARNED

LOST = 3  # times that a cell may be lost with its node; then it is the node's end that it causes


@dataclass(frozen=True, kw_only=True)
class Job:
    root: Path  # of labels, absolute: a folder that every node sees under this name
    token: str  # what `submit` wrote there, so that a node knows that it sees the same
    device: str
    label: str | None  # None: the node's own
    dtypes: tuple[str, ...]
    sources: tuple[str, ...]  # of text
    limit_s: float
    pack: int  # training cells at once on a GPU, or on a node without one
    since: str | None  # --fresh: Records are answers if they are later (UTC, ISO 8601)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`status` is the Record's, or had, refused, unreadable, lost."""

    case: str
    status: str
    reason: str | None = None
    took_s: float | None = None  # the node's, with all that is not the cell's; None: not measured
    cell_s: float | None = None  # of it, the cell's own

    @property
    def failed(self) -> bool:
        return self.status in ("error", "refused", "unreadable", "lost")


def is_timed(case: Case) -> bool:
    """Whether seconds or memory are the answer, so that nothing else may run beside it."""
    return case.phase not in LEARNED or case.phase == "compress"
