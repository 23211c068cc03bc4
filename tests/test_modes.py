"""Compiled and replayed steps do what Python's do, for every architecture, without a GPU.

A CUDA graph repeats kernels on fixed addresses and runs no Python. `Recording` does the same on
CPU: it writes down every op with the very tensors it was given, and repeating it runs those ops
alone, into the tensors they made before. What a real graph would bake in, such as a position read
as a number, it bakes in too.
"""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

import archs
from archs._ops import attention, every_op
from benchmarks import harness, modes
from benchmarks.modes import GRAPH_WARM_UPS, Decoder, GraphDecoder
from results import Case
from tests.test_harness import ENV, stopwatch

CONTEXT, ROOM = 20, 6


class Recording(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if "item" in func.__name__ or "_local_scalar_dense" in func.__name__:
            raise RuntimeError("a graph cannot read a tensor's value")
        made = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, made))
        return made

    def repeat(self):
        for func, args, kwargs, made in self.calls:
            again = func(*args, **kwargs)
            for old, new in zip(tree_leaves(made), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                    old.copy_(new)


def recorded(run):
    """As `modes.cuda_graph`: warmed up, then recorded without being run."""
    for _ in range(GRAPH_WARM_UPS):
        run()
    with Recording() as recording:
        run()
    return recording.repeat


@pytest.fixture
def static(monkeypatch):
    """As if positions were on a device, where a number of theirs is not to be had."""
    monkeypatch.setattr(attention.Cache, "is_static", property(lambda cache: True))


def decoding(arch):
    torch.manual_seed(0)
    model = archs.build(arch, "100k", max_len=CONTEXT + ROOM)
    tokens_BT = torch.randint(256, (2, CONTEXT), generator=torch.Generator().manual_seed(1))

    def advance(token_B1, states):
        x_B1D, states = model(token_B1, states)
        return model.logits(x_B1D).argmax(dim=-1), states

    _, states = model(tokens_BT, model.init_state(2, CONTEXT + ROOM))
    return advance, tokens_BT[:, -1:].clone(), states


def written(decoder, tokens):
    seen = []
    for _ in range(tokens):
        decoder.step()
        seen.append(decoder.token_B1.clone())
    return torch.cat(seen, dim=1)


@pytest.mark.parametrize("arch", archs.names())
@torch.no_grad()
def test_a_replayed_decoder_writes_what_python_writes(arch, request):
    expected = written(Decoder(*decoding(arch)), ROOM)
    advance, token_B1, states = decoding(arch)
    context = tree_map(torch.clone, states)
    request.getfixturevalue("static")
    decoder = GraphDecoder(advance, token_B1, states, recorded)
    torch.testing.assert_close(written(decoder, ROOM), expected)
    # and again from the same context, at the same addresses
    addresses = [leaf.data_ptr() for leaf in tree_leaves(decoder.states)]
    decoder.load(context)
    decoder.token_B1.copy_(decoding(arch)[1])
    torch.testing.assert_close(written(decoder, ROOM), expected)
    assert addresses == [leaf.data_ptr() for leaf in tree_leaves(decoder.states)]


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


@pytest.mark.parametrize("arch", archs.names())
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
