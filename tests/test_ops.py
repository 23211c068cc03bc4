"""Every kernel of every op against the op's plain one, values and gradients, in float64."""

import pytest
import torch
import torch.nn.functional as F

from archs._ops import KernelRefused, attention, every_op, noting_kernels, selective_scan, ssd
from archs._ops._chunks import decay_between
from archs._ops._fla import LOWEST
from archs._ops.attention import Cache
from archs._ops.linear_scan import linear_scan
from archs._ops.recurrent import lstm

OPS = every_op()
CPU = torch.device("cpu")
B, E, N, H, K = 2, 6, 3, 2, 4


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64).requires_grad_()


def positive(*shape):
    return (0.1 + torch.randn(*shape, dtype=torch.float64).abs()).detach().requires_grad_()


def decay(*shape):
    return torch.rand(*shape, dtype=torch.float64).requires_grad_()


def unit(*shape):
    return F.normalize(torch.randn(*shape, dtype=torch.float64), dim=-1).requires_grad_()


def matrix(rows):
    return (torch.randn(rows, E, dtype=torch.float64) * E**-0.5).requires_grad_()


def cell(gates):
    return matrix(gates * E), matrix(gates * E), randn(gates * E), randn(gates * E)


# arguments of each op for T tokens; the scans start from a state that is not zero
ARGUMENTS = {
    "attention": lambda T: (randn(B, 2 * H, T, K), *randn(2, B, H, T, K).unbind(), True, None),
    "cross_entropy": lambda T: (randn(T, E), randn(11, E), torch.randint(11, (T,))),
    "differential_attention": lambda T: (
        *(randn(B, 4 * H, T, K), randn(B, 2 * H, T, K), randn(B, H, T, 2 * K)),
        *(randn(1), True, None),
    ),
    "elman": lambda T: (randn(B, T, E), cell(1), randn(B, E)),
    "experts": lambda T: (
        *(randn(B, T, E), torch.rand(B, T, 3).topk(2)[1], decay(B, T, 2)),
        *(randn(3, 2 * K, E), randn(3, E, K)),
    ),
    "gated_delta_rule": lambda T: (
        *(randn(B, T, H, N), unit(B, T, H, N), randn(B, T, H, K)),
        *(decay(B, T, H, 1), -positive(B, T, H, 1), randn(B, H, N, K)),
    ),
    "gated_linear_attention": lambda T: (
        *(randn(B, T, H, N), randn(B, T, H, N), randn(B, T, H, K)),
        *(-positive(B, T, H, N), randn(B, H, N, K)),
    ),
    "generalised_delta_rule": lambda T: (
        *(randn(B, T, H, N), LOWEST * decay(B, T, H, N), randn(B, T, H, N), randn(B, T, H, K)),
        *(unit(B, T, H, N), -unit(B, T, H, N), randn(B, H, N, K)),
    ),
    "gru": lambda T: (randn(B, T, E), cell(3), randn(B, E)),
    "linear_scan": lambda T: (decay(B, T, E), randn(B, T, E), randn(B, E)),
    "long_conv": lambda T: (randn(B, E, 2 * T), randn(E, 2 * T), T),
    "lstm": lambda T: (randn(B, T, E), cell(4), randn(B, E), randn(B, E)),
    "rms_norm": lambda T: (randn(B, T, E), randn(E), 1e-5),
    "selective_scan": lambda T: (
        *(randn(B, T, E), positive(B, T, E), -positive(E, N)),
        *(randn(B, T, N), randn(B, T, N), randn(B, N, E)),
    ),
    "short_conv": lambda T: (randn(B, T, E), randn(E, 1, 4), randn(E), randn(B, 3, E)),
    "slstm": lambda T: (
        *(randn(B, T, H, 4 * K), randn(H, K, 4 * K), randn(B, H * K)),
        torch.stack([randn(B, H * K), positive(B, H * K), randn(B, H * K)], dim=1),
    ),
    "ssd": lambda T: (
        *(randn(B, T, H, K), positive(B, T, H), -positive(H)),
        *(randn(B, T, N), randn(B, T, N), randn(B, N, H, K)),
    ),
    "trapezoidal_scan": lambda T: (
        *(randn(B, T, H, N), randn(B, T, H, N), randn(B, T, H, K), -positive(B, T, H)),
        *(positive(B, T, H), positive(B, T, H)),
        *(randn(B, H, N, K), randn(B, H, N), randn(B, H, K)),
    ),
    "window_attention": lambda T: (
        *(randn(B, 2 * H, T, K), *randn(2, B, H, T, K).unbind()),
        *(5, None),
    ),
}
KERNELS = [
    (op.name, kernel.name)
    for op in OPS.values()
    for kernel in op.kernels.values()
    if kernel.name != "plain" and kernel.why_not(CPU) is None
]


def outputs(result):
    return [result] if isinstance(result, torch.Tensor) else list(result)


@pytest.mark.parametrize("length", [1, 2, 17, 70])
@pytest.mark.parametrize(("name", "kernel"), KERNELS)
def test_every_kernel_is_the_plain_one(name, kernel, length, monkeypatch):
    monkeypatch.setattr(selective_scan, "CACHED_ELEMENTS", 2**8)  # several blocks
    monkeypatch.setattr("archs._ops.cross_entropy.CHUNK_LOGITS", 2**6)  # several chunks
    if kernel in ("step", "cell", "rows", "gathered") and length > 1:
        pytest.skip("one token at a time is all it does")
    torch.manual_seed(0)
    arguments = ARGUMENTS[name](length)
    expected = outputs(OPS[name](*arguments, kernel="plain"))
    if not OPS[name].kernels[kernel].learns:
        with pytest.raises(ValueError, match="no gradient flows through it"):
            OPS[name](*arguments, kernel=kernel)
        with torch.no_grad():
            seen = outputs(OPS[name](*arguments, kernel=kernel))
        torch.testing.assert_close(seen, expected)
        return
    seen = outputs(OPS[name](*arguments, kernel=kernel))
    torch.testing.assert_close(seen, expected)

    flat = [v for a in arguments for v in (a if isinstance(a, tuple) else [a])]
    leaves = [v for v in flat if isinstance(v, torch.Tensor) and v.requires_grad]
    pull = [torch.randn_like(value) for value in expected]
    given = {"allow_unused": True, "retain_graph": True}
    mine = torch.autograd.grad(seen, leaves, pull, **given)
    theirs = torch.autograd.grad(expected, leaves, pull, **given)
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("op", OPS.values(), ids=lambda op: op.name)
def test_every_op_has_a_plain_kernel_that_always_runs(op):
    plain = op.kernels["plain"]
    assert op.name in ARGUMENTS
    assert plain.why_not(torch.device("cuda")) is None and plain.suits is None


def test_what_ran_is_noted_and_auto_chooses_by_the_call():
    x, weights, h = ARGUMENTS["gru"](5)
    with noting_kernels() as ran:
        OPS["gru"](x, weights, h)
    assert ran == {"gru": "stored"}
    with torch.no_grad(), noting_kernels() as ran:
        OPS["gru"](x, weights, h)
    assert ran == {"gru": "torch"}
    with noting_kernels() as ran:
        OPS["gru"](x[:, :1], weights, h)
        lstm(*ARGUMENTS["lstm"](4), kernel="plain")
    assert ran == {"gru": "cell", "lstm": "plain"}


def test_a_named_kernel_that_cannot_run_is_refused():
    arguments = [v.to("meta") for v in ARGUMENTS["linear_scan"](3)]
    assert linear_scan(*arguments).device.type == "meta"
    x, weights, h = ARGUMENTS["elman"](3)
    with pytest.raises(
        ValueError, match="elman cannot run its kernel 'stored' here: it runs on cpu"
    ):
        OPS["elman"](x.to("meta"), [w.to("meta") for w in weights], h.to("meta"), kernel="stored")


@pytest.mark.parametrize(("name", "kernel"), [k for k in KERNELS if k[1] in ("step", "cell")])
def test_a_kernel_for_one_token_refuses_two(name, kernel):
    with torch.no_grad(), pytest.raises(ValueError, match="it takes one token at a time"):
        OPS[name](*ARGUMENTS[name](2), kernel=kernel)


def test_ssd_forgets_a_strongly_decayed_past_without_overflow():
    """exp of a difference, never a ratio of exps: decays of e^-1000 must give zeros, not NaN."""
    x, b = torch.ones(1, 64, 1, 2), torch.ones(1, 64, 2)
    state = torch.zeros(1, 2, 1, 2)
    y, state = ssd.ssd(x, torch.full((1, 64, 1), 50.0), torch.tensor([-20.0]), b, b, state)
    torch.testing.assert_close(y, torch.full_like(y, 100.0))
    assert state.isfinite().all()


def test_one_decay_a_head_is_as_many_alike():
    torch.manual_seed(0)
    *call, g, state = ARGUMENTS["gated_linear_attention"](70)
    for name, kernel in OPS["gated_linear_attention"].kernels.items():
        if kernel.why_not(CPU) is None and not kernel.one_token:
            alike = g[..., :1].expand_as(g)
            expected = OPS["gated_linear_attention"](*call, alike, state, kernel="plain")
            seen = OPS["gated_linear_attention"](*call, g[..., :1], state, kernel=name)
            torch.testing.assert_close(seen, expected)


@pytest.mark.parametrize("rows", [1, 16])
def test_linear_attention_forgets_a_strongly_decayed_past_without_overflow(rows):
    """Rows that fade by e^-100 at each token, in single precision, beside one that never does."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 70, 2, 16) for _ in range(3))
    g = torch.full((1, 70, 2, rows), -100.0)
    g[..., 1:2] = 0
    call = [x.requires_grad_() for x in (q, k, v, g)]
    op, state = OPS["gated_linear_attention"], torch.randn(1, 2, 16, 16)
    grads = []
    for kernel in ("chunked", "plain"):
        y, end = op(*call, state, kernel=kernel)
        grads.append((y, end, *torch.autograd.grad((y.sum(), end.sum()), call)))
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-4)


def test_the_delta_rule_is_right_where_every_key_is_the_same():
    """Then each value replaces the last, and (I + L) is as ill-conditioned as it can be."""
    torch.manual_seed(0)
    q = k = F.normalize(torch.randn(1, 1, 1, 16), dim=-1).expand(1, 70, 1, 16)
    v, ones = torch.randn(1, 70, 1, 8), torch.ones(1, 70, 1, 1)
    y, _ = OPS["gated_delta_rule"](q, k, v, ones, 0 * ones, torch.zeros(1, 1, 16, 8))
    torch.testing.assert_close(y, v, rtol=1e-4, atol=1e-4)


def test_a_convolution_without_bias_is_one_with_a_bias_of_zero():
    x, weight, bias, tail = (v.detach() for v in ARGUMENTS["short_conv"](1))
    for name, kernel in OPS["short_conv"].kernels.items():
        if kernel.why_not(CPU) is None:
            expected = kernel.run(x, weight, 0 * bias, tail.clone())
            torch.testing.assert_close(
                kernel.run(x, weight, None, tail.clone()), expected, msg=name
            )


def test_chunked_loss_holds_no_whole_logits():
    """4096 tokens of a 30,000-word vocabulary are 491 MB of logits; a chunk is 64 MB."""
    from benchmarks.machine import peak_memory

    x_MD, weight_VD = torch.randn(4096, 8), torch.randn(30_000, 8)
    weight_VD.requires_grad_()
    target_M = torch.randint(30_000, (4096,))

    def run():
        OPS["cross_entropy"](x_MD, weight_VD, target_M).sum().backward()

    assert peak_memory("cpu", run).peak_bytes < 200e6


@pytest.mark.parametrize("heads", [(4, 4), (4, 2)], ids=["mha", "gqa"])
def test_static_decode_is_eager_decode(heads, monkeypatch):
    """The path a CUDA graph captures, whose position stays a device tensor, on CPU tensors."""
    torch.manual_seed(0)
    n_head, n_kv_head = heads
    q, k, v = torch.randn(2, n_head, 1, 8), *torch.randn(2, 2, n_kv_head, 1, 8)
    past = torch.randn(2, 2, n_kv_head, 12, 8)
    past[:, :, :, 5:] = 0

    def cache():
        return Cache(past[0].clone(), past[1].clone(), torch.tensor(5))

    expected, eager = attention.attention(q, k, v, cache())
    monkeypatch.setattr(attention, "is_static", lambda position: True)
    seen, static = attention.attention(q, k, v, cache())
    torch.testing.assert_close(seen, expected)
    torch.testing.assert_close(tuple(static), tuple(eager))


def test_an_lstm_in_bfloat16_takes_onednn_only_where_that_can(monkeypatch):
    x_BTD, h_BE = torch.ones(2, 3, 4), torch.zeros(2, 4)
    weights = (torch.ones(16, 4), torch.ones(16, 4), torch.ones(16), torch.ones(16))
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    with torch.no_grad(), noting_kernels() as ran:
        lstm(x_BTD, weights, h_BE, h_BE)
        assert ran["lstm"] == "torch"
        with torch.autocast("cpu", dtype=torch.bfloat16):
            lstm(x_BTD, weights, h_BE, h_BE)
        assert ran["lstm"] == "plain"
        with pytest.raises(KernelRefused, match="no bfloat16 LSTM for this processor"):
            lstm(x_BTD.bfloat16(), weights, h_BE, h_BE, kernel="torch")


@pytest.mark.parametrize("fade", [0.01, 1.0, 30.0, 1e4])
def test_decay_between_two_tokens_is_the_product_of_those_on_the_way(fade):
    torch.manual_seed(0)
    steps = -fade * torch.rand(2, 9, dtype=torch.float64)
    log_decay = steps.cumsum(-1).requires_grad_()
    expected = torch.tensor(
        [[[sum(row[s + 1 : t + 1]) for s in range(9)] for t in range(9)] for row in steps.tolist()],
        dtype=torch.float64,
    )
    expected = expected.exp().tril()
    torch.testing.assert_close(decay_between(log_decay), expected)
    narrow = decay_between(log_decay.detach().float())
    torch.testing.assert_close(narrow.double(), expected, rtol=1e-4, atol=1e-30)
    assert torch.autograd.gradcheck(decay_between, log_decay)
