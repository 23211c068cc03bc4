"""Architectures whose state is a matrix, against what we did not write: transformers' functions and
models, the `rwkv` package, and where there is nothing else the paper's equation as it stands there,
token by token or over all pairs of tokens in float64."""

import itertools

import pytest
import torch
import torch.nn.functional as F

import archs
from archs._spine import EPS

B, T = 2, 70  # two chunks and a part of one


@pytest.fixture
def mixer(request):
    """The first layer's, in float64, with weights larger than fresh ones."""
    torch.manual_seed(0)
    model = archs.build(request.param, "100k").double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.blocks[0].mixer


@pytest.fixture
def x_BTD():
    torch.manual_seed(1)
    return torch.randn(B, T, 64, dtype=torch.float64)


def heads(x_BTE, n_head):
    """(B, T, E) to (B, H, T, E / H)."""
    return x_BTE.unflatten(-1, (n_head, -1)).transpose(1, 2)


def recurrence(q_BHTN, alpha_BHTN, k_BHTN, v_BHTK):
    """S_t = diag(α_t) S_{t-1} + k_t v_tᵀ, o_t = S_tᵀ q_t, sequence by sequence and head by head."""
    y_BHTK = torch.empty_like(v_BHTK)
    for b, h in itertools.product(*map(range, v_BHTK.shape[:2])):
        s_NK = torch.zeros(q_BHTN.shape[-1], v_BHTK.shape[-1], dtype=v_BHTK.dtype)
        for t in range(v_BHTK.shape[2]):
            s_NK = torch.diag(alpha_BHTN[b, h, t]) @ s_NK + torch.outer(
                k_BHTN[b, h, t], v_BHTK[b, h, t]
            )
            y_BHTK[b, h, t] = s_NK.T @ q_BHTN[b, h, t]
    return y_BHTK


def normed(x_BHTK, weight_K):
    """RMSNorm over the last axis, that of a head's channels."""
    return x_BHTK / (x_BHTK.square().mean(-1, keepdim=True) + EPS).sqrt() * weight_K


@torch.no_grad()
@pytest.mark.parametrize("mixer", ["linear_attention"], indirect=True)
def test_linear_attention_is_its_sum_over_all_pairs(mixer, x_BTD):
    """Equation 4 of 2006.16236, masked."""
    q, k, v = (heads(x, mixer.n_head) for x in mixer.inputs(x_BTD).chunk(3, dim=-1))
    features_q, features_k = (torch.where(x > 0, x + 1, x.exp()) for x in (q, k))
    weights_BHTT = torch.einsum("bhtn,bhsn->bhts", features_q, features_k).tril()
    y_BHTK = torch.einsum("bhts,bhsk->bhtk", weights_BHTT / weights_BHTT.sum(-1, True), v)
    expected = y_BHTK.transpose(1, 2).flatten(2) @ mixer.out.weight.T
    torch.testing.assert_close(mixer(x_BTD, None)[0], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("mixer", ["retnet"], indirect=True)
def test_retnet_is_the_parallel_form_with_complex_places(mixer, x_BTD):
    """Equations 5 and 8 of 2307.08621, (Q Θ)(K Θ̄)ᵀ ∘ D, Θ_n = e^{inθ}, and no recurrence."""
    H, N = 4, 16
    q, k, v, gate = mixer.inputs(x_BTD).split((64, 64, 128, 128), dim=-1)
    q, k, v = (heads(x, H) for x in (q, k, v))
    theta_N = 10_000.0 ** -(torch.arange(0, N, 2).float() / N)
    turn_TN = torch.polar(torch.ones(T, N // 2), torch.arange(T)[:, None] * theta_N)
    q, k = (torch.complex(*x.chunk(2, dim=-1)) for x in (q, k))
    pairs = torch.einsum("bhtn,bhsn->bhts", q * turn_TN, (k * turn_TN).conj()).real / N**0.5
    apart_TT = torch.arange(T)[:, None] - torch.arange(T)
    gamma_H = torch.tensor([1 - 1 / 32, 1 - 1 / 64, 1 - 1 / 128, 1 - 1 / 256], dtype=torch.float64)
    fade_HTT = (gamma_H[:, None, None] ** apart_TT.clamp(min=0)).tril()
    y_BHTK = normed((pairs * fade_HTT) @ v, mixer.norm.weight)
    expected = (F.silu(gate) * y_BHTK.transpose(1, 2).flatten(2)) @ mixer.out.weight.T
    torch.testing.assert_close(mixer(x_BTD, None)[0], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("mixer", ["gla"], indirect=True)
def test_gla_is_its_recurrence(mixer, x_BTD):
    """Section 4.4 of 2312.06635, a token at a time."""
    H, N = 4, 8
    q, k, v, gate, low = mixer.inputs(x_BTD).split((32, 32, 64, 64, 16), dim=-1)
    alpha = torch.sigmoid(low @ mixer.decay.weight.T + mixer.decay.bias) ** (1 / 16)
    y_BHTK = recurrence(*(heads(x, H) for x in (q / N**0.5, alpha, k, v)))
    y_BHTK = normed(y_BHTK, mixer.norm.weight)
    expected = (F.silu(gate) * y_BHTK.transpose(1, 2).flatten(2)) @ mixer.out.weight.T
    torch.testing.assert_close(mixer(x_BTD, None)[0], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("layer", [0, 1])
def test_hgrn2_is_its_recurrence(layer, x_BTD):
    """Section 3 of 2404.07904, a token at a time; the first layer's bound is 0."""
    torch.manual_seed(0)
    mixer = archs.build("hgrn2", "100k").double().blocks[layer].mixer
    q, f, v = mixer.inputs(x_BTD).chunk(3, dim=-1)
    beta = layer / 2  # of two layers
    forget = beta + (1 - beta) * torch.sigmoid(f)
    y_BHTK = recurrence(*(heads(x, 4) for x in (F.silu(q), forget, 1 - forget, v)))
    y_BTD = normed(y_BHTK.transpose(1, 2).flatten(2), mixer.norm.weight)
    expected = y_BTD @ mixer.out.weight.T
    torch.testing.assert_close(mixer(x_BTD, None)[0], expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("mixer", ["deltanet"], indirect=True)
@pytest.mark.parametrize("form", ["chunk", "recurrent"])
def test_deltanet_is_transformers_delta_rule_where_nothing_fades(mixer, x_BTD, form):
    """That is float32 inside; it makes queries and keys unit vectors and scales by 1 / √N."""
    olmo = pytest.importorskip("transformers.models.olmo_hybrid.modeling_olmo_hybrid")
    qkv, beta = mixer.inputs(x_BTD).split((192, 4), dim=-1)
    ahead = F.pad(qkv.mT, (3, 0))
    qkv = F.silu(F.conv1d(ahead, mixer.conv.weight, groups=192)).mT
    q, k, v = qkv.unflatten(-1, (3, 4, 16)).unbind(2)
    rule = getattr(olmo, f"torch_{form}_gated_delta_rule")
    fades = {"g": torch.zeros_like(beta), "beta": beta.sigmoid()}
    y_BTHK, _ = rule(q, k, v, **fades, use_qk_l2norm_in_kernel=True)
    expected = normed(y_BTHK, mixer.norm.weight).flatten(2) @ mixer.out.weight.T
    torch.testing.assert_close(mixer(x_BTD, None)[0], expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("mixer", ["mlstm"], indirect=True)
def test_mlstm_is_its_recurrence_without_the_stabiliser(mixer, x_BTD):
    """Equations 19 to 27 of 2405.04517 as they stand, for gates all over their range: in float64
    e^15 is no danger."""
    H, N = 4, 8
    mixer.gates.weight.mul_(20)
    mixer.gates.bias.uniform_(-15, 15)
    q, k, v, gate = mixer.inputs(x_BTD).split((32, 32, 64, 64), dim=-1)
    i, f = (15 * torch.tanh(mixer.gates(x_BTD) / 15)).chunk(2, dim=-1)
    assert i.max() > 12 and i.min() < -12
    q, k, v, write, keep = (heads(x, H) for x in (q / N**0.5, k, v, i.exp(), f.sigmoid()))
    keep = keep.expand_as(q)
    norm = recurrence(q, keep, write * k, torch.ones_like(v[..., :1]))
    h_BHTK = recurrence(q, keep, write * k, v) / norm.abs().clamp(min=1)
    h_BHTK = h_BHTK - h_BHTK.mean(-1, keepdim=True)
    h_BHTK = h_BHTK / (h_BHTK.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    h_BTD = h_BHTK.transpose(1, 2).flatten(2) * mixer.scale_D
    expected = (gate.sigmoid() * h_BTD) @ mixer.out.weight.T
    torch.testing.assert_close(mixer(x_BTD, None)[0], expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        mixer.float()(x_BTD.float(), None)[0].double(), expected, rtol=1e-2, atol=1e-3
    )
