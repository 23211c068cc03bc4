"""Where memory ends: what did not fit short will not fit long."""

from benchmarks import harness
from benchmarks.machine import Environment
from results import Case, Record


class Walls:
    """The shortest length that did not fit, of cells that differ in length only."""

    def __init__(self) -> None:
        self.shortest: dict[tuple[str, ...], int] = {}

    def note(self, record: Record) -> None:
        """Remember it, from this run or an earlier one."""
        if record.status == "oom":
            alike, length = _alike(record.case), record.case.seq_len
            self.shortest[alike] = min(length, self.shortest.get(alike, length))

    def beyond(self, case: Case, env: Environment) -> Record | None:
        """The Record of a case that is longer than what did not fit, which is not run."""
        length = self.shortest.get(_alike(case), case.seq_len)
        if length >= case.seq_len:
            return None
        return harness.record(
            case,
            env,
            status="oom",
            reason=f"not run: out of memory at {length} tokens already",
            **harness.model_facts(case),
        )


def _alike(case: Case) -> tuple[str, ...]:
    same = (case.grows, case.steps_of, case.memory_bytes, case.short_conv, case.task, case.load)
    return case.phase, case.arch, case.size, case.dtype, case.mode, *map(str, same)
