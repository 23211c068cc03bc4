"""The libraries' kernels where none of them can run: the glue around each against our plain kernel.

A stand-in has a library's signature, layouts and demands, and computes by its formula. That the
libraries do the same is for tests/test_gpu.py to show.
"""

import subprocess
import sys
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend

import archs
from archs._ops import KernelRefused, _library, _sdpa, noting_kernels, recurrent
from archs._ops.selective_scan import selective_scan
from tests import test_ops
from tests.test_ops import ARGUMENTS, OPS, outputs

CUDA = torch.device("cuda")


def selective_scan_fn(
    u,
    delta,
    A,
    B,
    C,
    D=None,
    z=None,
    delta_bias=None,
    delta_softplus=False,
    return_last_state=False,
):
    """u, delta (batch, dim, T); A (dim, dstate); B, C (batch, dstate, T)."""
    state, ys = torch.zeros(len(u), *A.shape, dtype=u.dtype), []
    for t in range(u.shape[-1]):
        fade = torch.exp(delta[:, :, t, None] * A)
        state = fade * state + (delta * u)[:, :, t, None] * B[:, None, :, t]
        ys.append(torch.einsum("bdn,bn->bd", state, C[..., t]))
    y = torch.stack(ys, -1)
    return (y, state.detach()) if return_last_state else y


def selective_state_update(
    state,
    x,
    dt,
    A,
    B,
    C,
    D=None,
    z=None,
    dt_bias=None,
    dt_softplus=False,
    state_batch_indices=None,
):
    """state (batch[, nheads], dim, dstate); x, dt (batch[, nheads], dim); B, C (batch[, 1],
    dstate).

    Launched without D or dt_bias the library's kernel fails, whatever its signature says.
    """
    if state.dim() == 4:
        assert 0 == A.stride(-1) == A.stride(-2) == dt.stride(-1) == dt_bias.stride(-1)
        assert B.shape[:2] == C.shape[:2] == (len(x), 1)
        B, C = B[..., None, :], C[..., None, :]
    else:
        B, C = B[:, None], C[:, None]
    assert x.shape == dt.shape == state.shape[:-1] and A.shape == state.shape[-len(A.shape) :]
    dt = dt + dt_bias
    state.copy_(torch.exp(dt[..., None] * A) * state + (dt * x)[..., None] * B)
    return (state * C).sum(-1) + D * x


def mamba_chunk_scan_combined(
    x,
    dt,
    A,
    B,
    C,
    chunk_size,
    D=None,
    z=None,
    dt_bias=None,
    initial_states=None,
    seq_idx=None,
    cu_seqlens=None,
    dt_softplus=False,
    dt_limit=(0.0, float("inf")),
    return_final_states=False,
    return_varlen_states=False,
):
    """x (batch, T, nheads, headdim); B, C (batch, T, 1, dstate); states (…, headdim, dstate)."""
    state, ys = initial_states, []
    for t in range(x.shape[1]):
        fade = torch.exp(dt[:, t] * A)[..., None, None]
        state = fade * state + (dt[:, t, :, None] * x[:, t])[..., None] * B[:, t, :, None]
        ys.append((state * C[:, t, :, None]).sum(-1))
    y = torch.stack(ys, 1)
    return (y, state) if return_final_states else y


def chunk_simple_gla(
    q,
    k,
    v,
    g=None,
    g_gamma=None,
    scale=None,
    initial_state=None,
    output_final_state=False,
    state_v_first=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
):
    """q, k (B, T, H, K); v (B, T, H, V); g (B, T, H), the log of the decay; state (B, H, K, V)."""
    assert q.shape == k.shape and q.shape[:3] == v.shape[:3] == g.shape
    scale = k.shape[-1] ** -0.5 if scale is None else scale
    state, ys = initial_state, []
    for t in range(q.shape[1]):
        state = g[:, t].exp()[..., None, None] * state + k[:, t, ..., None] * v[:, t, :, None]
        ys.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(ys, 1), state if output_final_state else None


def chunk_gla(
    q,
    k,
    v,
    g,
    scale=None,
    initial_state=None,
    output_final_state=False,
    state_v_first=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
):
    """As chunk_simple_gla, but g (B, T, H, K)."""
    assert q.shape == k.shape == g.shape and q.shape[:3] == v.shape[:3]
    assert initial_state.dtype == torch.float32 or q.dtype == torch.float64
    state, ys = initial_state, []
    for t in range(q.shape[1]):
        state = g[:, t, ..., None].exp() * state + k[:, t, ..., None] * v[:, t, :, None]
        ys.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(ys, 1), state if output_final_state else None


def chunk_gated_delta_rule(
    q,
    k,
    v,
    g,
    beta,
    scale=None,
    initial_state=None,
    output_final_state=False,
    use_qk_l2norm_in_kernel=False,
    use_beta_sigmoid_in_kernel=False,
    allow_neg_eigval=False,
    state_v_first=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
    chunk_indices=None,
    cp_context=None,
    **kwargs,
):
    """q, k (B, T, H, K); v (B, T, H, V); g, beta (B, T, H); state (B, H, K, V)."""
    assert q.shape[:3] == v.shape[:3] == g.shape == beta.shape
    state, ys = initial_state, []
    for t in range(q.shape[1]):
        state = g[:, t].exp()[..., None, None] * state
        stored = torch.einsum("bhk,bhkv->bhv", k[:, t], state)
        new = beta[:, t, :, None] * (v[:, t] - stored)
        state = state + k[:, t, ..., None] * new[:, :, None]
        ys.append(scale * torch.einsum("bhk,bhkv->bhv", q[:, t], state))
    return torch.stack(ys, 1), state if output_final_state else None


def chunk_rwkv7(
    r,
    w,
    k,
    v,
    a,
    b,
    scale=1.0,
    initial_state=None,
    output_final_state=False,
    cu_seqlens=None,
    cu_seqlens_cpu=None,
    safe_gate=False,
    chunk_size=None,
    disable_recompute=False,
    cp_context=None,
    lower_bound=None,
):
    """r, w, k, a, b (B, T, H, K), w the log of the decay; v (B, T, H, V); state (B, H, K, V)."""
    assert r.shape == w.shape == k.shape == a.shape == b.shape and lower_bound <= w.min()
    state, ys = initial_state, []
    for t in range(r.shape[1]):
        read = torch.einsum("bhk,bhkv->bhv", a[:, t], state)
        state = w[:, t, ..., None].exp() * state + b[:, t, ..., None] * read[:, :, None]
        state = state + k[:, t, ..., None] * v[:, t, :, None]
        ys.append(scale * torch.einsum("bhk,bhkv->bhv", r[:, t], state))
    return torch.stack(ys, 1), state if output_final_state else None


def causal_conv1d_fn(
    x,
    weight,
    bias=None,
    seq_idx=None,
    initial_states=None,
    return_final_states=False,
    final_states_out=None,
    activation=None,
):
    """x (batch, dim, T) and initial_states (batch, dim, width - 1), both channels-last."""
    dim, width = weight.shape
    assert dim % 8 == x.stride(2) % 8 == x.stride(0) % 8 == x.storage_offset() % 8 == 0
    assert x.stride(1) == initial_states.stride(1) == 1 and initial_states.dtype == x.dtype
    whole = torch.cat([initial_states, x], dim=-1)
    y = F.conv1d(whole, weight[:, None], bias, groups=dim)
    return (y, whole[..., 1 - width :]) if return_final_states else y


def causal_conv1d_update(
    x,
    conv_state,
    weight,
    bias=None,
    activation=None,
    cache_seqlens=None,
    conv_state_indices=None,
):
    """x (batch, dim); conv_state (batch, dim, width - 1)."""
    assert conv_state.dtype == x.dtype
    whole = torch.cat([conv_state, x[..., None]], dim=-1)
    conv_state.copy_(whole[..., 1:])
    return (whole * weight).sum(-1) + bias


def liger_fused_linear_cross_entropy(
    input, weight, target, bias=None, reduction="mean", accum_dtype=None
):
    """Per token with reduction "none"; what it multiplies under autocast it would cast itself."""
    assert not torch.is_autocast_enabled("cpu") and accum_dtype == torch.float32
    return F.cross_entropy(F.linear(input, weight).double(), target, reduction=reduction)


STAND_INS = {
    "mamba_ssm.ops.selective_scan_interface": selective_scan_fn,
    "mamba_ssm.ops.triton.selective_state_update": selective_state_update,
    "mamba_ssm.ops.triton.ssd_combined": mamba_chunk_scan_combined,
    "fla.ops.simple_gla": chunk_simple_gla,
    "fla.ops.gla": chunk_gla,
    "fla.ops.gated_delta_rule": chunk_gated_delta_rule,
    "fla.ops.rwkv7": chunk_rwkv7,
    "causal_conv1d": causal_conv1d_fn,
    "liger_kernel.transformers.functional": liger_fused_linear_cross_entropy,
}
FUSED = [
    ("selective_scan", "mamba-ssm"),
    ("selective_scan", "mamba-ssm-step"),
    ("ssd", "mamba-ssm"),
    ("ssd", "mamba-ssm-step"),
    ("ssd", "fla"),
    ("gated_linear_attention", "fla"),
    ("gated_delta_rule", "fla"),
    ("generalised_delta_rule", "fla"),
    ("short_conv", "causal-conv1d"),
    ("short_conv", "causal-conv1d-step"),
    ("cross_entropy", "liger"),
    ("elman", "cudnn"),
    ("gru", "cudnn"),
    ("lstm", "cudnn"),
]


@pytest.fixture(autouse=True)
def libraries(monkeypatch):
    """Every library a stand-in, and nothing remembered of a machine without them."""
    for name, function in STAND_INS.items():
        module = ModuleType(name)
        setattr(module, function.__name__, function)
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["causal_conv1d"].causal_conv1d_update = causal_conv1d_update
    machine = ModuleType("fla.utils")
    machine.IS_NVIDIA_HOPPER, machine.TRITON_ABOVE_3_7_1 = True, True
    monkeypatch.setitem(sys.modules, "fla.utils", machine)
    monkeypatch.setattr(test_ops, "E", 8)  # channels come in eights
    for op in OPS.values():
        monkeypatch.setattr(op, "able", {})
    _library._trouble.cache_clear()
    yield
    _library._trouble.cache_clear()


def same_values_and_gradients(run, plain, arguments):
    expected, seen = outputs(plain(*arguments)), outputs(run(*arguments))
    torch.testing.assert_close(seen, expected)
    flat = [v for a in arguments for v in (a if isinstance(a, tuple) else [a])]
    leaves = [v for v in flat if isinstance(v, torch.Tensor) and v.requires_grad]
    pull = [torch.randn_like(v) for v in expected]
    given = {"allow_unused": True, "retain_graph": True}
    mine = torch.autograd.grad(seen, leaves, pull, **given)
    torch.testing.assert_close(mine, torch.autograd.grad(expected, leaves, pull, **given))


@pytest.mark.parametrize("length", [1, 2, 17, 70])
@pytest.mark.parametrize(("name", "kernel"), FUSED)
def test_every_fused_kernel_is_the_plain_one(name, kernel, length):
    fused = OPS[name].kernels[kernel]
    if fused.one_token and length > 1:
        pytest.skip("one token at a time is all it does")
    torch.manual_seed(0)
    arguments, plain = ARGUMENTS[name](length), OPS[name].kernels["plain"].run
    if fused.learns:
        same_values_and_gradients(fused.run, plain, arguments)
        return
    with torch.no_grad():
        expected, state = plain(*arguments), arguments[-1]
        seen = fused.run(*arguments)
    torch.testing.assert_close(seen, expected)
    assert seen[1] is state or not fused.one_token  # in place


def test_one_decay_a_head_takes_the_library_s_kernel_for_that():
    *call, g, state = ARGUMENTS["gated_linear_attention"](17)
    kernels = OPS["gated_linear_attention"].kernels
    same_values_and_gradients(
        kernels["fla"].run, kernels["plain"].run, (*call, g[..., :1].contiguous(), state)
    )


@pytest.mark.parametrize("kernel", ["plain", "blocked", "step", "mamba-ssm"])
def test_no_state_is_a_state_of_zeros(kernel):
    *call, state_BNE = ARGUMENTS["selective_scan"](1 if kernel == "step" else 17)
    run = selective_scan.kernels[kernel].run
    with torch.no_grad():
        (y, none), (expected, _) = run(*call, None), run(*call, torch.zeros_like(state_BNE))
    assert none is None
    torch.testing.assert_close(y, expected)
    assert "given none" in selective_scan.kernels["mamba-ssm-step"].refuses(*call, None)


def test_short_conv_reads_what_is_not_aligned():
    x_BTE, *rest = ARGUMENTS["short_conv"](5)
    wide = torch.cat([x_BTE, x_BTE[..., :3]], dim=-1)[..., 3:]
    kernels = OPS["short_conv"].kernels
    same_values_and_gradients(kernels["causal-conv1d"].run, kernels["plain"].run, (wide, *rest))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_ssd_takes_narrow_inputs_beside_a_wide_state(dtype):
    x, dt, a, b, c, state = (v.float() for v in ARGUMENTS["ssd"](40))
    x, b, c = (v.to(dtype) for v in (x, b, c))
    with torch.no_grad():
        expected = OPS["ssd"](x, dt, a, b, c, state, kernel="plain")
        for kernel in ("chunked", "mamba-ssm"):
            y, end = OPS["ssd"].kernels[kernel].run(x, dt, a, b, c, state)
            assert end.dtype == torch.float32
            torch.testing.assert_close((y.float(), end), expected, rtol=1e-2, atol=1e-2)


def test_cudnn_gets_one_buffer_and_one_precision(monkeypatch):
    handed = {}

    def lstm(x, hidden, weights, biases, layers, dropout, train, *rest):
        handed.update(x=x, hidden=hidden, weights=weights, train=train)
        return torch_lstm(x, hidden, weights, biases, layers, dropout, train, *rest)

    torch_lstm = torch.lstm
    monkeypatch.setattr(torch, "lstm", lstm)
    x, weights, h, c = ARGUMENTS["lstm"](3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        recurrent.lstm.kernels["cudnn"].run(x, weights, h, c)
    tensors = [handed["x"], *handed["hidden"], *handed["weights"]]
    assert {v.dtype for v in tensors} == {torch.bfloat16} and handed["train"]
    ends = [0]
    for weight in handed["weights"]:
        assert weight.is_contiguous() and weight.storage_offset() == ends[-1]
        ends.append(ends[-1] + weight.numel())
    assert len({weight.untyped_storage().data_ptr() for weight in handed["weights"]}) == 1


@pytest.mark.parametrize("heads", [(4, 4), (4, 2)], ids=["mha", "gqa"])
@pytest.mark.parametrize("kind", ["causal", "masked", "one token", "one token masked"])
def test_one_backend_alone_is_the_plain_attention(heads, kind):
    asked = []
    math = _sdpa._backend(
        "math", SDPBackend.MATH, lambda params: bool(asked.append(params)) or True
    )
    T = 1 if "one token" in kind else 6
    q, (k, v) = test_ops.randn(2, heads[0], T, 4), test_ops.randn(2, 2, heads[1], 6, 4).unbind()
    seen = torch.ones(T, 6, dtype=torch.bool).tril(2) if "masked" in kind else None
    call = (q, k, v, kind == "causal", seen)
    assert math.refuses(*call) is None
    same_values_and_gradients(math.run, OPS["attention"].kernels["plain"].run, call)
    (params,) = asked
    assert params.enable_gqa == (heads[0] > heads[1] and T > 1)
    assert params.is_causal == (kind == "causal") and (params.attn_mask is None) == (seen is None)


def chosen(name, length, dtype, kernel="auto", **changed):
    """What an op would run for a call on CUDA, of whose tensors only shapes and dtypes exist."""
    call = [v.to(dtype) if isinstance(v, torch.Tensor) else v for v in ARGUMENTS[name](length)]
    for index, narrow in changed.get("narrow", {}).items():
        call[index] = call[index].to(narrow)
    with FakeTensorMode():
        call = [
            torch.empty(v.shape, dtype=v.dtype, device=CUDA) if isinstance(v, torch.Tensor) else v
            for v in call
        ]
        return OPS[name]._choose(kernel, tuple(call)).name


def test_auto_takes_the_library_where_it_can():
    narrow = {"narrow": dict.fromkeys((0, 3, 4), torch.bfloat16)}
    three = {"narrow": dict.fromkeys(range(3), torch.bfloat16)}
    assert chosen("gated_linear_attention", 9, torch.float32, **three) == "fla"
    assert chosen("gated_delta_rule", 9, torch.float32, **three) == "fla"
    assert chosen("generalised_delta_rule", 9, torch.float32, **three) == "fla"
    assert chosen("selective_scan", 9, torch.float32) == "mamba-ssm"
    assert chosen("ssd", 9, torch.float32, **narrow) == "mamba-ssm"
    assert chosen("short_conv", 9, torch.bfloat16) == "causal-conv1d"
    with torch.no_grad():
        assert chosen("selective_scan", 1, torch.float32) == "mamba-ssm-step"
        assert chosen("ssd", 1, torch.float32, **narrow) == "mamba-ssm-step"
        assert chosen("short_conv", 1, torch.bfloat16) == "causal-conv1d-step"


def test_auto_passes_by_what_cannot_take_the_call(monkeypatch):
    for name in ("selective_scan", "ssd", "short_conv"):
        assert chosen(name, 9, torch.float64) not in ("mamba-ssm", "causal-conv1d")
    assert chosen("selective_scan", 1, torch.float32) == "mamba-ssm"  # with a gradient to come
    for name in ("gated_linear_attention", "gated_delta_rule", "generalised_delta_rule"):
        assert chosen(name, 9, torch.float32) == "chunked"
        assert chosen(name, 1, torch.float32) == "chunked"  # with a gradient to come
        with torch.no_grad():
            assert chosen(name, 1, torch.float32) == "step"
    assert chosen("ssd", 9, torch.float32) == "chunked"  # tf32 is not what float32 means
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")
    assert chosen("ssd", 9, torch.float32) == "mamba-ssm"
    monkeypatch.setattr(test_ops, "E", 6)
    assert chosen("short_conv", 9, torch.bfloat16) == "conv1d"
    assert chosen("attention", 9, torch.float64) == "sdpa"


def test_a_backward_that_is_wrong_on_this_card_is_passed_by():
    sys.modules["fla.utils"].TRITON_ABOVE_3_7_1 = False
    for name, expected in (
        ("gated_linear_attention", "fla"),  # a decay a row: another backward
        ("gated_delta_rule", "chunked"),
        ("generalised_delta_rule", "fla"),
    ):
        assert chosen(name, 9, torch.bfloat16) == expected
        with torch.no_grad():
            assert chosen(name, 9, torch.bfloat16) == "fla"
    with pytest.raises(KernelRefused, match=r"its backward on Hopper needs triton 3\.7\.1"):
        chosen("gated_delta_rule", 9, torch.bfloat16, "fla")


@pytest.mark.parametrize(
    ("name", "kernel", "dtype", "why"),
    [
        (
            "generalised_delta_rule",
            "fla",
            torch.float32,
            "it takes bfloat16 or float16, not float32",
        ),
        ("gated_delta_rule", "fla", torch.float64, "not float64"),
        ("selective_scan", "mamba-ssm", torch.float64, "it takes float32 only"),
        ("ssd", "mamba-ssm", torch.float64, "not float64"),
        ("short_conv", "causal-conv1d", torch.float64, "not float64"),
        ("ssd", "fla", torch.bfloat16, "no gradient flows through it"),
        ("attention", "flash", torch.float64, "leave out this dtype, head width, mask or device"),
    ],
)
def test_a_named_library_that_cannot_take_the_call_is_refused(name, kernel, dtype, why):
    with pytest.raises(
        KernelRefused, match=f"{name} cannot run its kernel '{kernel}' here: .*{why}"
    ):
        chosen(name, 9, dtype, kernel)


def test_a_named_library_on_cpu_is_refused():
    model = archs.build("mamba", "100k", kernel="mamba-ssm")
    with pytest.raises(KernelRefused, match="it runs on cuda, not on cpu"), noting_kernels():
        model(torch.zeros(1, 4, dtype=torch.long))


def test_a_library_that_is_missing_or_broken_says_so(tmp_path, monkeypatch):
    why_not = _library.needs("nobody-has-this", "nobody_has_this.ops")
    assert why_not(CUDA) == "nobody-has-this is not installed: docs/gpu.md says how"
    (tmp_path / "half_built.py").write_text("import half_built_cuda")
    monkeypatch.syspath_prepend(tmp_path)
    reason = _library.needs("half-built", "half_built")(CUDA)
    assert reason == "half-built cannot be imported: No module named 'half_built_cuda'"
    assert _library.needs("causal-conv1d", "causal_conv1d")(CUDA) is None


def test_no_library_is_imported_for_a_cpu(tmp_path):
    for name in ("mamba_ssm", "fla", "causal_conv1d", "liger_kernel"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('imported')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import torch; from archs import _ops\n"
        "for op in _ops.every_op().values():\n"
        "    [kernel.why_not(torch.device('cpu')) for kernel in op.kernels.values()]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
