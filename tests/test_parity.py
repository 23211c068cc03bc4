"""Agreement with implementations we did not write: our weights in theirs, the same logits.

The copying of weights is benchmarks/peers'; here it is held to a whole forward pass and to decode,
with weights that are larger than fresh ones, so that a wrong gate or scale cannot hide.
"""

import pytest
import torch
from torch import nn

from archs._ops import recurrent
from benchmarks import peers
from benchmarks.peers._peer import Missing, Ours

SIZE, LENGTH, PROMPT = "100k", 150, 100
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(params=peers.find(), ids=lambda peer: f"{peer.arch}-{peer.impl}")
def sides(request):
    """Ours, theirs, and text."""
    peer = request.param
    try:
        peer.version()
    except Missing as missing:
        pytest.skip(str(missing))
    torch.manual_seed(0)
    model = peer.ours(SIZE, LENGTH)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "a_log" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    peer.leave_out(model)
    return Ours(model), peer.theirs(model), torch.randint(model.config.vocab_size, (2, LENGTH))


def decoded(side, tokens_BT, prompt):
    """Logits of all tokens after the prompt, one by one."""
    side.module.eval()
    with torch.inference_mode():
        side.prefill(tokens_BT[:, :prompt], room=LENGTH - prompt)
        steps = tokens_BT[:, prompt:].split(1, dim=1)
        return torch.cat([side.step(token_B1) for token_B1 in steps], dim=1)


@torch.no_grad()
def test_a_whole_forward_pass_is_the_peers(sides):
    ours, theirs, tokens_BT = sides
    seen, expected = ours.logits(tokens_BT), theirs.logits(tokens_BT)
    torch.testing.assert_close(seen, expected, **TOLERANCE)
    targets_BT = tokens_BT.roll(-1, dims=1)
    loss, their_loss = ours.loss(tokens_BT, targets_BT), theirs.loss(tokens_BT, targets_BT)
    torch.testing.assert_close(loss, their_loss, **TOLERANCE)


@torch.no_grad()
def test_decode_is_the_peers(sides):
    ours, theirs, tokens_BT = sides
    expected = theirs.logits(tokens_BT)
    torch.testing.assert_close(decoded(ours, tokens_BT, 1), expected[:, 1:], **TOLERANCE)
    torch.testing.assert_close(decoded(ours, tokens_BT, PROMPT), expected[:, PROMPT:], **TOLERANCE)
    torch.testing.assert_close(
        decoded(theirs, tokens_BT, PROMPT), expected[:, PROMPT:], **TOLERANCE
    )


def test_gradients_are_the_peers(sides):
    ours, theirs, tokens_BT = sides
    for side in (ours, theirs):
        side.module.train()
        side.loss(tokens_BT, tokens_BT.roll(-1, dims=1)).backward()
        assert all(parameter.grad is not None for parameter in side.module.parameters())
    seen, expected = ours.embed.weight.grad, theirs.embed.weight.grad
    torch.testing.assert_close(seen, expected, rtol=1e-3, atol=1e-4 * expected.abs().max().item())


@pytest.mark.parametrize("peer_class", [nn.RNN, nn.GRU, nn.LSTM], ids=["rnn", "gru", "lstm"])
def test_recurrences_are_torch_nn(peer_class):
    """Outputs and every gradient, from a state that is not zero, in float64."""
    torch.manual_seed(0)
    peer = peer_class(12, 10, batch_first=True).double()
    x_BTD = torch.randn(3, 17, 12, dtype=torch.float64, requires_grad=True)
    h_BE = torch.randn(3, 10, dtype=torch.float64, requires_grad=True)
    c_BE = torch.randn(3, 10, dtype=torch.float64, requires_grad=True)
    is_lstm = peer_class is nn.LSTM
    weights = tuple(peer.parameters())
    leaves = [x_BTD, h_BE, *weights] + [c_BE] * is_lstm

    expected, _ = peer(x_BTD, (h_BE[None], c_BE[None]) if is_lstm else h_BE[None])
    if is_lstm:
        seen, _ = recurrent.lstm(x_BTD, weights, h_BE, c_BE)
    else:
        op = recurrent.gru if peer_class is nn.GRU else recurrent.elman
        seen = op(x_BTD, weights, h_BE)
    torch.testing.assert_close(seen, expected)

    pull = torch.randn_like(expected)
    for mine, theirs in zip(
        torch.autograd.grad(seen, leaves, pull, retain_graph=True),
        torch.autograd.grad(expected, leaves, pull, retain_graph=True),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)
