"""The laws only a CUDA device can break; `pytest tests -m gpu` runs them where there is one."""

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map

import archs
from archs._ops import noting_kernels
from benchmarks import harness
from results import Case
from tests import test_ops
from tests.test_harness import stopwatch
from tests.test_ops import ARGUMENTS, OPS, outputs

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
LENGTH = 150
CUDA = torch.device("cuda")
KERNELS = [(op.name, name) for op in OPS.values() for name in op.kernels if name != "plain"]
# of a result's length: float32, tf32 in kernels that multiply so whatever torch allows, bfloat16
FLOAT32, TF32, BFLOAT16 = 1e-5, 1e-3, 1e-2
IN_TF32 = {
    *(("ssd", "mamba-ssm"), ("ssd", "fla"), ("attention", "efficient"), ("attention", "sdpa")),
    *(("gated_linear_attention", "fla"), ("gated_delta_rule", "fla")),
}
# places of an op's arguments that stay float32 in a bfloat16 model
WIDE = {
    "linear_scan": range(3),
    "selective_scan": range(6),
    "ssd": (1, 2, 5),
    "gated_linear_attention": (3, 4),
    "gated_delta_rule": (4, 5),
    "generalised_delta_rule": (1, 6),
}


@pytest.fixture
def no_tf32(monkeypatch):
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", False)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def rounded(name, call, dtype):
    """The call on CUDA as a model of this dtype makes it; what takes no gradient stays as it is."""

    def copy(value, dtype):
        if not isinstance(value, torch.Tensor):
            return value
        if not value.is_floating_point():
            return value.cuda()
        return value.detach().to(CUDA, dtype).requires_grad_()

    wide = WIDE.get(name, ())
    return [
        tree_map(
            lambda v, place=place: copy(v, torch.float32 if place in wide else dtype), argument
        )
        for place, argument in enumerate(call)
    ]


def as_float64(value):
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value.cpu() if isinstance(value, torch.Tensor) else value
    return value.detach().cpu().double().requires_grad_()


def leaves(call):
    return [v for v in tree_leaves(call) if isinstance(v, torch.Tensor) and v.requires_grad]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("length", [1, 70, 513])
@pytest.mark.parametrize(("name", "kernel"), KERNELS)
def test_every_kernel_on_cuda_is_the_plain_one(name, kernel, length, dtype, no_tf32, monkeypatch):
    """Against float64 of the same rounded inputs, so that the error is the kernel's own."""
    fused = OPS[name].kernels[kernel]
    if reason := fused.why_not(CUDA):
        pytest.skip(reason)
    if fused.one_token and length > 1:
        pytest.skip("one token at a time is all it does")
    for letter, size in {"E": 64, "N": 16, "K": 64}.items():
        monkeypatch.setattr(test_ops, letter, size)
    torch.manual_seed(0)
    call = rounded(name, ARGUMENTS[name](length), dtype)
    if fused.refuses is not None and (reason := fused.refuses(*call)):
        pytest.skip(reason)
    exact_call = tree_map(as_float64, call)
    exact = outputs(OPS[name](*exact_call, kernel="plain"))
    bound = FLOAT32 if dtype == torch.float32 else BFLOAT16
    bound = max(bound, TF32) if (name, kernel) in IN_TF32 else bound
    with torch.set_grad_enabled(fused.learns):
        seen = outputs(OPS[name](*call, kernel=kernel))
    for value, exact_value in zip(seen, exact, strict=True):
        assert relative(value, exact_value) < bound
    if not fused.learns:
        return
    pull = [torch.randn_like(value) for value in exact]
    mine = torch.autograd.grad(
        seen, leaves(call), [p.to(s) for p, s in zip(pull, seen, strict=True)]
    )
    theirs = torch.autograd.grad(exact, leaves(exact_call), pull)
    for grad, exact_grad in zip(mine, theirs, strict=True):
        # attention to a single token has no gradient in its query
        assert not exact_grad.any() or relative(grad, exact_grad) < 3 * bound


@pytest.mark.parametrize("arch", list(filter(archs.is_causal, archs.names())))
def test_the_record_names_what_ran(arch, tokens_BT):
    """Not torch, which chooses on CUDA without saying what, nor a loop in Python."""
    model = archs.build(arch, "100k", max_len=LENGTH).cuda()
    with noting_kernels() as ran, torch.autocast("cuda", dtype=torch.bfloat16):
        model.nll(tokens_BT[:, :-1].cuda(), tokens_BT[:, 1:].cuda()).sum().backward()
    attends, recurs = ran.get("attention"), {ran.get(name) for name in ("elman", "gru", "lstm")}
    assert attends in (None, "cudnn", "flash", "efficient") and recurs <= {None, "cudnn"}


@pytest.fixture(params=list(filter(archs.is_causal, archs.names())))
def pair(request, no_tf32):
    """One model on CPU in float64 and its copy on CUDA in float32, without tf32."""
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


@pytest.mark.parametrize("arch", list(filter(archs.is_causal, archs.names())))
@pytest.mark.parametrize("phase", ["train", "prefill", "decode"])
def test_every_phase_runs_in_bfloat16(arch, phase):
    env = harness.machine.environment("cuda", "test")
    case = Case(phase=phase, arch=arch, size="3m", seq_len=512, batch=2, dtype="bfloat16")
    record = harness.measure(case, env, stopwatch=stopwatch)
    assert record.status == "ok" and record.peak_bytes > record.param_bytes
    assert record.peak_method == "cuda caching allocator"
