"""Agreement of whole architectures with others' code, or with their paper's equations written out,
where no package is a peer in benchmarks/peers that could be timed beside ours."""

from dataclasses import replace

import pytest
import torch

from archs import griffin, hawk
from archs._ops.slstm import slstm as slstm_op
from archs._spine import LanguageModel

TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def disturbed(model):
    """With weights larger than fresh ones, so that a wrong gate or scale cannot hide."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def tokens(length, batch=2):
    return torch.randint(256, (batch, length), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def test_hawk_is_recurrent_gemma_without_attention():
    """Whose cache cannot do without: hence no peer, and a whole forward pass only."""
    pytest.importorskip("transformers")
    from benchmarks.peers import transformers_recurrent_gemma as peer

    torch.manual_seed(0)
    config = replace(hawk.SIZES["100k"], d_inner=64, n_block=4)
    assert set(config.pattern) == {"r"} and hawk.Block is griffin.Block
    model, tokens_BT = disturbed(LanguageModel(config, hawk.Block)), tokens(100)
    expected = peer.theirs(model).logits(tokens_BT)
    torch.testing.assert_close(model.logits(model(tokens_BT)[0]), expected, **TOLERANCE)


def test_slstm_is_its_equations_without_a_stabiliser():
    """The paper's equations 8 to 14, where nothing is too large for them; and finite where it is."""
    torch.manual_seed(0)
    B, T, H, K = 2, 30, 2, 3
    u, weight = (
        torch.randn(*shape, dtype=torch.float64) for shape in ((B, T, H, 4 * K), (H, K, 4 * K))
    )
    h, c, n = torch.zeros(3, B, H, K, dtype=torch.float64)
    expected = []
    for t in range(T):
        g = u[:, t] + torch.einsum("bhk,hkg->bhg", h, weight)
        i, f, z, o = (g[..., k * K : (k + 1) * K] for k in range(4))
        c = f.sigmoid() * c + i.exp() * z.tanh()
        n = f.sigmoid() * n + i.exp()
        h = o.sigmoid() * c / n
        expected.append(h.flatten(1))
    fresh = torch.zeros(B, 3, H * K, dtype=torch.float64)
    fresh[:, 2] = -torch.inf
    for kernel in ("stored", "plain"):
        seen, cell = slstm_op(u, weight, torch.zeros_like(fresh[:, 0]), fresh, kernel=kernel)
        torch.testing.assert_close(seen, torch.stack(expected, dim=1))
        scale = cell[:, 2].exp()
        torch.testing.assert_close(cell[:, 0] * scale, c.flatten(1))
        torch.testing.assert_close(cell[:, 1] * scale, n.flatten(1))
        large = u.clone()
        large[..., :K] += 1000
        high, _ = slstm_op(large, weight, torch.zeros_like(fresh[:, 0]), fresh, kernel=kernel)
        assert high.isfinite().all() and high.abs().max() <= 1
