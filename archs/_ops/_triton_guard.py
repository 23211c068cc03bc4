"""Triton where it is installed; elsewhere as much of its names as importing a kernel's file takes.

Such files say `from __future__ import annotations`, so that tl.constexpr is never looked up.
"""

import shutil

import torch

try:
    import triton.language as tl
    from triton import jit, knobs
except ImportError:
    tl = knobs = None

    def jit(function):
        return function


PROGRAMS = 2048  # warps: 16 on each of an H200's 132 processors, enough to wait for memory in turn
LEAST_CHUNK = 64  # steps; to pass on what a chunk inherits costs as much as a few


def why_not(device: torch.device) -> str | None:
    if tl is None:
        return "triton 3.6 or newer is not installed"
    if device.type == "cpu" and knobs.runtime.interpret:
        return None
    if device.type != "cuda":
        return f"it runs on cuda, not on {device.type} (on cpu in Triton's interpreter)"
    if not any(map(shutil.which, ("gcc", "clang"))):
        return "triton launches through a C compiler; install gcc"
    return None


def cdiv(a: int, b: int) -> int:
    return -(-a // b)


def chunk_length(T: int, walks: int, multiple: int) -> int:
    """Steps to a chunk: T, unless so few walks over all of time would leave a GPU idle."""
    chunks = max(1, min(PROGRAMS // walks, T // LEAST_CHUNK))
    return cdiv(cdiv(T, chunks), multiple) * multiple
