"""How long a step takes on a GPU, and whether the machine was itself while it was timed."""

import gc
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import chain

import torch

from benchmarks import machine
from benchmarks.phases import Step

# steps that may be under way at once: the time limit is checked as steps are launched, and Python
# launches far faster than a GPU works
UNDER_WAY = 32
SENTINEL_SAMPLES = 3


def by_events(step: Step, before: Callable[[], None], rounds: int) -> tuple[float, ...]:
    """Seconds of each of `rounds` steps between CUDA events on the stream that the step runs on.

    Steps are launched one after another without waiting, as a user's loop does, so a sample holds
    the GPU's work and what it waits for Python to launch inside the step, but neither a wake-up
    from idleness nor `before`: the kernels of that lie ahead of the first event, and its Python
    runs before the first event is launched.
    """
    pairs = []
    for started in range(1, rounds + 1):
        before()
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        step()
        end.record()
        pairs.append((start, end))
        if started % UNDER_WAY == 0:
            end.synchronize()
    torch.cuda.synchronize()
    return tuple(start.elapsed_time(end) / 1e3 for start, end in pairs)  # from milliseconds


def by_clock(step: Step, before: Callable[[], None], rounds: int) -> tuple[float, ...]:
    """Seconds of each of `rounds` steps, one waited for before the next."""
    seconds = []
    for _ in range(rounds):
        before()
        start = machine.clock()
        step()
        seconds.append(machine.clock() - start)
    return tuple(seconds)


def stopwatch(
    device: str, step: Step, before: Callable[[], None], rounds: int
) -> tuple[float, ...]:
    """Seconds of each of `rounds` steps, as that device is timed; garbage is collected after."""
    gc.disable()
    try:
        return (by_events if device == "cuda" else by_clock)(step, before, rounds)
    finally:
        gc.enable()


class Playback:
    """The clock of pytest-benchmark, which tells what was measured elsewhere: pairs of moments that
    are one sample apart. With nothing left to tell it is the clock on the wall."""

    def __init__(self) -> None:
        self.moments: Iterator[float] = iter(())

    def play(self, samples_s: Iterable[float]) -> None:
        self.moments = chain.from_iterable((0.0, seconds) for seconds in samples_s)

    def __call__(self) -> float:
        for moment in self.moments:
            return moment
        return time.perf_counter()


@cache
def _sentinel(device: str) -> Step:
    """A matrix product and a copy, the same whatever is measured: 3 to 7 ms on one core of a server
    CPU; on an H200 about 2 ms, by its ceilings, and 352 MiB that stay allocated."""
    rows, dtype, times = (384, torch.float32, 1) if device == "cpu" else (4096, torch.bfloat16, 8)
    a, b = (torch.randn(rows, rows, device=device, dtype=dtype) for _ in range(2))
    source = torch.randn(2**22 if device == "cpu" else 2**25, device=device)
    product, target = torch.empty_like(a), torch.empty_like(source)

    def run() -> None:
        for _ in range(times):
            torch.mm(a, b, out=product)
            target.copy_(source)

    run()
    return run


def sentinel_s(device: str) -> tuple[float, ...]:
    """Seconds of each of SENTINEL_SAMPLES runs."""
    run = _sentinel(device)
    if device == "cuda":
        return by_events(run, lambda: None, SENTINEL_SAMPLES)
    return tuple(machine.samples(run, SENTINEL_SAMPLES))
