"""Architectures whose state is a matrix, against what we did not write: transformers' functions and
models, the `rwkv` package, and where there is nothing else the paper's equation as it stands there,
token by token or over all pairs of tokens in float64."""

import pytest
import torch
import torch.nn.functional as F

import archs

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
