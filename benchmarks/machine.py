"""The machine under test: its clock, its peak of memory, its fingerprint, its ceilings."""

import ctypes
import gc
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._pytree import tree_leaves

from results import Ceiling

CEILING_SAMPLES = 10
PACKED_COMMIT = "COMMIT"  # file at the root of a pack
CORES = "SEQFRONTIER_CORES"  # in the environment, for processes that keep to some of them
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


@dataclass(frozen=True, kw_only=True)
class Environment:
    """What every Record of a run shares. Plain data, so that it travels to worker processes."""

    device: str  # "cpu" or "cuda"
    label: str
    machine: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    ceilings: dict[str, Ceiling] = field(default_factory=dict)


def pick_device(asked: str | None) -> str:
    """The device asked for, or the fastest there is. Raises ValueError if it is not there."""
    have_cuda = torch.cuda.is_available()
    if asked == "cuda" and not have_cuda:
        raise ValueError("no CUDA device is available to torch here; use --device cpu")
    return asked or ("cuda" if have_cuda else "cpu")


def cores() -> list[int | None]:
    """Those this machine lends us, even if this process, or the one that started it, keeps to
    fewer by now; None: one of them, where a process cannot be kept to one.

    A CPU cell is timed on one thread of one core: two threads that share a busy machine time the
    scheduler.
    """
    if sys.platform != "linux":
        return [None]
    lent = os.environ.setdefault(CORES, ",".join(map(str, sorted(os.sched_getaffinity(0)))))
    return [int(core) for core in lent.split(",")]


def use_cores(*cores: int | None) -> None:
    """Keep this process to one thread, and to these cores if there are any."""
    torch.set_num_threads(1)
    numbers = {core for core in cores if core is not None}
    if numbers and sys.platform == "linux":
        os.sched_setaffinity(0, numbers)


def settle() -> None:
    """Take two disturbances out of every timed step of this process, on whatever it measures.

    malloc hands large blocks back to the system and faults each page in anew; CUDA's caching
    allocator keeps them, so let CPU cells keep theirs. And the interpreter's own 300,000 objects
    need not be walked again at each garbage collection.
    """
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):  # glibc's; another C library has its own ways
            libc.mallopt(M_MMAP_THRESHOLD, 32 * 2**20)  # the most it accepts
            libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def clock() -> float:
    """Seconds, read only once the device has caught up, so a step cannot end before its kernels."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter()


def tensor_bytes(tree: object) -> int:
    """Bytes kept alive by the tensors in `tree`; a view is charged for all that it views."""
    buffers = [t.untyped_storage() for t in tree_leaves(tree) if isinstance(t, torch.Tensor)]
    # by identity, not address: on the meta device every address is 0
    return sum({b._cdata: b.nbytes() for b in buffers}.values())


class Peak(NamedTuple):
    """Fields of a Record."""

    peak_bytes: int
    peak_method: str
    reserved_bytes: int | None


def peak_memory(device: str, run: Callable[[], object]) -> Peak:
    """The most bytes of tensors alive at once while `run()` ran, and how that was seen.

    On CUDA, the caching allocator's own peak. On CPU torch keeps no such figure, so the profiler's
    trace of every allocation and release of torch's CPU allocator is added up. Both see the same
    thing, the tensors and workspaces of torch, and not the interpreter. What CUDA's allocator
    reserves is more than that by what it cannot fill.
    """
    if device == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        allocated, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
        run()
        return Peak(
            torch.cuda.max_memory_allocated() - allocated,
            "cuda caching allocator",
            torch.cuda.max_memory_reserved() - reserved,
        )
    events = [e for e in _traced(run).kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return Peak(peak, "torch cpu allocator trace", None)


def _traced(run: Callable[[], object]) -> Any:
    """The trace is in order of the wall clock: upside down if that is set back meanwhile, so then
    `run()` once more."""
    while True:
        wall_s, began_s = time.time(), time.perf_counter()
        with torch.autograd.profiler.profile(use_kineto=True, profile_memory=True) as trace:
            run()
        took_s = time.perf_counter() - began_s
        if abs(time.time() - wall_s - took_s) < 0.01 * took_s:
            return trace


def is_out_of_memory(error: RuntimeError) -> bool:
    """CUDA has a class for it; the CPU allocator raises a plain RuntimeError with this text."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def measure_ceilings(device: str, dtype: str) -> dict[str, Ceiling]:
    """The fastest this machine multiplies and copies: work done, and seconds, per sample."""
    rows = 1024 if device == "cpu" else 8192
    # zeros multiply faster than real numbers do
    a, b = (torch.randn(rows, rows, device=device, dtype=getattr(torch, dtype)) for _ in range(2))
    source = torch.randn(2**25 if device == "cpu" else 2**30, device=device)
    target = torch.empty_like(source)
    runs: dict[str, tuple[int, Callable[[], object]]] = {
        f"matmul-{dtype}": (2 * rows**3, lambda: torch.mm(a, b)),
        "copy": (2 * source.nbytes, lambda: target.copy_(source)),
    }
    seen: dict[str, Ceiling] = {}
    for name, (work, run) in runs.items():
        run()
        seen[name] = {"work": work, "samples_s": samples(run, CEILING_SAMPLES)}
    return seen


def samples(run: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of each of `rounds` calls."""
    times = []
    for _ in range(rounds):
        start = clock()
        run()
        times.append(clock() - start)
    return times


def environment(device: str, label: str | None) -> Environment:
    machine = fingerprint(device)
    return Environment(
        device=device,
        label=label or default_label(device, machine),
        machine=machine,
        versions={"python": platform.python_version(), "torch": torch.__version__},
        commit=commit(),
    )


def fingerprint(device: str) -> dict[str, Any]:
    about: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()}",
        "cpu": cpu_name(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "cores": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "device": device,
    }
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        about |= {
            "gpu": gpu.name,
            "gpu_memory_bytes": gpu.total_memory,
            "gpu_processors": gpu.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "cache_bytes": gpu.L2_cache_size,
        }
    else:
        about["threads"] = 1
        caches = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
        if sizes := [int(size.read_text().strip().removesuffix("K")) for size in caches]:
            about["cache_bytes"] = 1024 * max(sizes)  # the last level's
    return about


def cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = re.findall(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def default_label(device: str, machine: dict[str, Any]) -> str:
    name = machine["gpu"] if device == "cuda" else f"cpu-{machine['cores']}-core-{machine['cpu']}"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def commit() -> str | None:
    """The checkout's commit, "-dirty" where code differs from it, also where it was packed from;
    None outside a checkout."""
    here = Path(__file__).parents[1]
    if (here / PACKED_COMMIT).exists():
        return (here / PACKED_COMMIT).read_text().strip() or None
    asked = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(asked, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() or None
