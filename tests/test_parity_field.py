"""Agreement of whole architectures with others' code, or with their paper's equations written out,
where no package is a peer in benchmarks/peers that could be timed beside ours."""

from dataclasses import replace

import pytest
import torch

from archs import griffin, hawk
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
