"""How much fits: the largest batch, or the greatest length, whose steps fit into memory.

Sizes double until one does not fit; then the gap to the last that did is halved until it is small.
Every probe goes into the Record, and what they amount to is the report's arithmetic.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from msgspec.structs import replace

from benchmarks import machine
from results import Case, Probe

TOLERANCE = 0.05  # of the largest that fits; a size of a few is found exactly
# what fits beyond these is not asked: on a CPU a step of it would take minutes
MOST = {
    "cpu": {"batch": 2**10, "seq_len": 2**14},
    "cuda": {"batch": 2**16, "seq_len": 2**20},
}


def search(probe: Callable[[int], Probe], start: int, most: int) -> Iterator[Probe]:
    """The probes, each taken when it is asked for. If `start` does not fit there is no other."""
    low, high, size = 0, 0, start  # the largest that fitted, the smallest that did not, the next
    while True:
        seen = probe(size)
        yield seen
        low, high = (size, high) if seen.fitted else (low, size)
        if low in (0, most) or (high and high - low <= max(1, TOLERANCE * low)):
            return
        size = (low + high) // 2 if high else min(2 * low, most)


def probes(case: Case, device: str, steps: Callable[[Case, str], object]) -> Iterator[Probe]:
    """The search that `case`, of the phase limits, asks for; `steps` runs a Case's on a device."""
    assert case.grows is not None and case.steps_of is not None
    grows = case.grows

    def probe(size: int) -> Probe:
        enlarged: dict[str, Any] = {"phase": case.steps_of, grows: size}
        asked = replace(case, grows=None, steps_of=None, memory_bytes=None, **enlarged)
        try:
            with at_most(case.memory_bytes, device):
                peak_bytes = machine.peak_memory(device, lambda: steps(asked, device)).peak_bytes
        except RuntimeError as error:
            if not machine.is_out_of_memory(error):
                raise
            return Probe(size=size, fitted=False, peak_bytes=None)
        fitted = case.memory_bytes is None or peak_bytes <= case.memory_bytes
        return Probe(size=size, fitted=fitted, peak_bytes=peak_bytes)

    start = case.batch if case.grows == "batch" else case.seq_len
    yield from search(probe, start, max(start, MOST[device][grows]))


@contextmanager
def at_most(memory_bytes: int | None, device: str) -> Iterator[None]:
    """On CUDA what is reserved inside runs out of memory at `memory_bytes` more than before; on a
    CPU nothing stops it, and the budget is held against the peak seen."""
    if device != "cuda" or memory_bytes is None:
        yield
        return
    _, card_bytes = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()
    share = (torch.cuda.memory_reserved() + memory_bytes) / card_bytes
    torch.cuda.set_per_process_memory_fraction(min(1.0, share))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
