"""Compiled and replayed steps do what Python's do, without a GPU; that every architecture's can be
replayed is a law.
"""

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map

import archs
from archs._ops import every_op
from benchmarks import harness, laws, modes
from benchmarks.laws import ROOM, written
from benchmarks.modes import Decoder, GraphDecoder
from benchmarks.recording import recorded
from results import Case
from tests.test_harness import ENV, stopwatch


def decoding(arch):
    return laws.decoding(laws.subject(arch))


@torch.no_grad()
def test_a_position_read_as_a_number_cannot_be_captured():
    """Python's way of decoding, positions on the CPU, is no way for a graph."""
    with pytest.raises(RuntimeError, match="cannot read a tensor's value"):
        GraphDecoder(*decoding("llama"), recorded).step()


@torch.no_grad()
def test_loading_leaves_the_saved_states_alone():
    advance, token_B1, states = decoding("mamba")
    saved = tree_map(torch.clone, states)
    kept = tree_map(torch.clone, saved)
    for decoder in (
        Decoder(advance, token_B1, states),
        GraphDecoder(advance, token_B1, states, recorded),
    ):
        decoder.load(saved)
        written(decoder, 3)
        torch.testing.assert_close(tree_leaves(saved), tree_leaves(kept))


@pytest.fixture
def traced(monkeypatch):
    """torch.compile without code generation: what the compiler sees of Python, run op by op."""

    def compile(call, dynamic):
        return real(call, dynamic=dynamic, fullgraph=True, backend="aot_eager")

    real = torch.compile
    monkeypatch.setattr(torch, "compile", compile)
    kernels = {op: dict(op.kernels) for op in every_op().values()}
    yield
    torch.compiler.reset()
    for op, before in kernels.items():
        op.kernels = before
        op.able.clear()


@pytest.mark.parametrize("arch", list(filter(archs.is_causal, archs.names())))
def test_a_compiled_token_is_one_graph_and_the_same(arch, traced):
    with torch.inference_mode():
        expected = written(Decoder(*decoding(arch)), ROOM)
        decoder = modes.decoder("compile", *decoding(arch))
        torch.testing.assert_close(written(decoder, ROOM), expected)


def test_compiling_leaves_loops_over_time_to_python(traced):
    loops = [k for op in every_op().values() for k in op.kernels.values() if k.opaque]
    assert {"torch", "stored", "folded", "blocked", "plain"} <= {kernel.name for kernel in loops}
    call = modes.compiled(torch.sin, "compile")
    torch.testing.assert_close(call(torch.ones(2)), torch.ones(2).sin())
    assert not any(k.opaque for op in every_op().values() for k in op.kernels.values())


def case(phase, arch, mode):
    return Case(phase=phase, arch=arch, size="100k", seq_len=8, batch=2, mode=mode)


@pytest.mark.skipif(
    modes.why_not("compile", "cpu") is not None, reason="no C++ compiler for torch.compile"
)
@pytest.mark.filterwarnings("default")  # the compiler has many of its own
@pytest.mark.parametrize("phase", ["train", "decode"])
def test_a_compiled_step_is_recorded_with_what_compiling_took(phase):
    eager, compiled = (
        harness.measure(case(phase, "gru", mode), ENV, stopwatch=stopwatch)
        for mode in ("eager", "compile")
    )
    assert compiled.status == "ok" and compiled.step_s == (1.0, 2.0)
    assert compiled.first_step_s > 10 * eager.first_step_s > 0
    assert compiled.kernels == eager.kernels != {}
    assert compiled.state_bytes == eager.state_bytes


def test_what_a_mode_needs_is_said(monkeypatch):
    assert modes.why_not("eager", "cpu") is None is modes.why_not("graph", "cuda")
    assert "captures CUDA graphs" in modes.why_not("graph", "cpu")
    monkeypatch.setenv("PATH", "")
    assert "needs a C++ compiler" in modes.why_not("compile", "cpu")
    assert modes.why_not("compile", "cuda") is None
