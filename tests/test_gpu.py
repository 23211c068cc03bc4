"""The laws only a CUDA device can break; `pytest tests -m gpu` runs them where there is one."""

import pytest
import torch
from torch.utils._pytree import tree_map

import archs
from benchmarks import harness
from results import Case
from tests.test_harness import stopwatch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
LENGTH = 150


@pytest.fixture(params=archs.names())
def pair(request, monkeypatch):
    """One model on CPU in float64 and its copy on CUDA in float32, without tf32."""
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.manual_seed(0)
    exact = archs.build(request.param, "100k", max_len=LENGTH)
    fast = archs.build(request.param, "100k", max_len=LENGTH)
    fast.load_state_dict(exact.state_dict())
    return exact.double(), fast.cuda()


@pytest.fixture
def tokens_BT():
    return torch.randint(256, (2, LENGTH), generator=torch.Generator().manual_seed(1))


def relative(seen, exact):
    return ((seen.double().cpu() - exact).norm() / exact.norm()).item()


def test_cuda_is_cpu(pair, tokens_BT):
    exact, fast = pair
    with torch.no_grad():
        assert relative(fast(tokens_BT.cuda())[0], exact(tokens_BT)[0]) < 1e-4


def test_gradients_on_cuda_are_those_on_cpu(pair, tokens_BT):
    grads = []
    for model, tokens in zip(pair, (tokens_BT, tokens_BT.cuda()), strict=True):
        model.nll(tokens[:, :-1], tokens[:, 1:]).mean().backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert relative(grads[1], grads[0]) < 1e-3


@pytest.mark.parametrize("static", [False, True], ids=["eager", "static"])
def test_decode_on_cuda_continues_prefill(pair, tokens_BT, static):
    """Static: every position a device tensor, as a captured graph needs it."""
    exact, fast = pair
    tokens = tokens_BT.cuda()
    with torch.no_grad():
        whole, _ = exact(tokens_BT)
        x_BTD, states = fast(tokens[:, :130], fast.init_state(2, LENGTH))
        parts = [x_BTD]
        if static:
            states = tree_map(lambda leaf: leaf.cuda(), states)
        for token_B1 in tokens[:, 130:].split(1, dim=1):
            x_BTD, states = fast(token_B1, states)
            parts.append(x_BTD)
    assert relative(torch.cat(parts, dim=1), whole) < 1e-4


@pytest.mark.parametrize("arch", archs.names())
@pytest.mark.parametrize("phase", ["train", "prefill", "decode"])
def test_every_phase_runs_in_bfloat16(arch, phase):
    env = harness.machine.environment("cuda", "test")
    case = Case(phase=phase, arch=arch, size="3m", seq_len=512, batch=2, dtype="bfloat16")
    record = harness.measure(case, env, stopwatch=stopwatch)
    assert record.status == "ok" and record.peak_bytes > record.param_bytes
    assert record.peak_method == "cuda caching allocator"
