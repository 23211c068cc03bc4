"""The Triton kernels where there is no GPU: run by Triton's interpreter, and compiled for an H200.

Triton asks when it is imported whether to interpret, so the interpreter has a process of its own.
"""

import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest
import torch

from archs._ops import _triton_guard, _triton_linear_scan, _triton_selective_scan
from archs._ops.linear_scan import linear_scan
from tests import test_ops
from tests.test_ops import ARGUMENTS, OPS, outputs

pytest.importorskip(
    "triton",
    minversion="3.7",
    reason="triton 3.7 or newer is not installed; before that its interpreter fails on numpy 2.4",
)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def interpreted():
    """Calls a function of this file where Triton interprets."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TRITON_INTERPRET", "1")
            process.submit(int).result()  # it starts with the first call
        yield lambda function, *arguments: process.submit(function, *arguments).result()


def arguments(name, length, sizes, dtype):
    """Of a call with tensors that sizes name by letter; "chunk": steps a program walks at least."""
    sizes = {"chunk": 8, **sizes}
    _triton_guard.LEAST_CHUNK = sizes.pop("chunk")
    for letter, size in sizes.items():
        setattr(test_ops, letter, size)
    torch.manual_seed(0)
    return [v.detach().to(dtype).requires_grad_() for v in ARGUMENTS[name](length)]


def distances(name, length, sizes, dtype):
    """Of every value and gradient from the plain kernel's in float64, as a share of its length."""
    call = arguments(name, length, sizes, dtype)
    exact_call = [v.detach().double().requires_grad_() for v in call]
    seen = outputs(OPS[name](*call, kernel="triton"))
    exact = outputs(OPS[name](*exact_call, kernel="plain"))
    pull = [torch.randn_like(value) for value in exact]
    seen += torch.autograd.grad(seen, call, [p.to(dtype) for p in pull])
    exact += torch.autograd.grad(exact, exact_call, pull)
    assert {value.dtype for value in seen} == {dtype}
    return [((s - e).norm() / e.norm()).item() for s, e in zip(seen, exact, strict=True)]


CASES = [
    ("linear_scan", 1, {"B": 2, "E": 3}),
    ("linear_scan", 37, {"B": 2, "E": 130}),  # two blocks of channels, one nearly empty
    ("linear_scan", 150, {"B": 1, "E": 4}),  # so many chunks that their ends are cut into chunks
    ("selective_scan", 1, {"B": 2, "E": 3, "N": 1}),
    ("selective_scan", 13, {"B": 2, "E": 6, "N": 3, "chunk": 64}),
    ("selective_scan", 18, {"B": 2, "E": 33, "N": 3}),
    ("selective_scan", 26, {"B": 1, "E": 30, "N": 16}),
    ("selective_scan", 9, {"B": 1, "E": 9, "N": 33}),
]


@pytest.mark.parametrize(("name", "length", "sizes"), CASES)
def test_it_is_the_plain_one(interpreted, name, length, sizes):
    assert max(interpreted(distances, name, length, sizes, torch.float64)) < 1e-13


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("linear_scan", {"B": 2, "E": 4}), ("selective_scan", {"B": 1, "E": 6, "N": 4})],
)
def test_it_is_the_plain_one_in_float32(interpreted, name, sizes):
    assert max(interpreted(distances, name, 30, sizes, torch.float32)) < 1e-6


def distances_of_cuts(name, length, sizes):
    """Of the whole from what its two parts give, wherever it is cut."""
    *call, start = arguments(name, length, sizes, torch.float64)
    found = []
    with torch.no_grad():
        whole = outputs(OPS[name](*call, start, kernel="triton"))
        for cut in range(1, length):
            state, ys = start, []
            for at in (slice(cut), slice(cut, None)):
                part = [v[:, at] if v.ndim == 3 else v for v in call]
                y, *states = outputs(OPS[name](*part, state, kernel="triton"))
                state = states[0] if states else y[:, -1]
                ys.append(y)
            found += [(torch.cat(ys, dim=1) - whole[0]).abs().max().item()]
            found += [(state - end).abs().max().item() for end in whole[1:]]
    return found


@pytest.mark.parametrize("name", ["linear_scan", "selective_scan"])
def test_any_cut_gives_the_whole(interpreted, name):
    sizes = {"B": 2, "E": 3, "N": 2, "chunk": 4}
    assert max(interpreted(distances_of_cuts, name, 9, sizes)) < 1e-13


LINEAR = {"BLOCK": _triton_linear_scan.BLOCK, "UNROLLED": _triton_linear_scan.UNROLLED}
SELECTIVE = {"SPAN": _triton_selective_scan.SPAN, "ACROSS": 8, "ALONG": 4, "OWN_N": 4, "OWN_E": 4}
COMPILED = [
    (_triton_linear_scan._chunk_ends, LINEAR | {"BACK": False}),
    (_triton_linear_scan._chunk_ends, LINEAR | {"BACK": True}),
    (_triton_linear_scan._walk, LINEAR),
    (_triton_linear_scan._walk_back, LINEAR),
    (_triton_selective_scan._forward, SELECTIVE | {"GIVES": "ends", "inherited": None}),
    (_triton_selective_scan._forward, SELECTIVE | {"GIVES": "spans", "end": None}),
    (_triton_selective_scan._forward, SELECTIVE | {"GIVES": "y"}),
    (_triton_selective_scan._back_ends, SELECTIVE),
    (_triton_selective_scan._back, SELECTIVE),
]


@pytest.mark.parametrize(("kernel", "constants"), COMPILED)
def test_it_compiles_for_an_h200(kernel, constants):
    """The interpreter takes Python that the compiler does not."""
    from triton import compile
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    types = dict.fromkeys(kernel.arg_names, "*fp32")
    types |= {name: "i32" for name in ("T", "E", "N", "chunk") if name in types}
    types |= dict.fromkeys(constants, "constexpr")
    places = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(kernel, types, constexprs=places)
    assert compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 1}).asm["ptx"]


def test_it_says_why_it_cannot_run(monkeypatch):
    why_not = linear_scan.kernels["triton"].why_not
    assert why_not(CPU) == "it runs on cuda, not on cpu (on cpu in Triton's interpreter)"
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        assert why_not(CUDA) == "triton launches through a C compiler; install gcc"
    monkeypatch.setattr(_triton_guard, "tl", None)
    assert why_not(CUDA) == "triton 3.6 or newer is not installed"


def test_without_triton_every_architecture_is_there():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import archs; from archs._ops import every_op\n"
        "assert archs.names() and every_op()['selective_scan'].kernels['triton']"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
