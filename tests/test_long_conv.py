"""Hyena's long convolution: what a token costs, and what it must move."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import archs
from archs._ops.long_conv import long_conv, long_conv_flops
from benchmarks import machine

LENGTH, BATCH = 40, 3


@pytest.fixture
def model():
    torch.manual_seed(0)
    return archs.build("hyena", "100k")


def test_flops_are_those_that_torch_counts_and_of_its_transforms():
    """Torch counts no transform; and the filter once for the batch, the formula for a sequence. Of
    short convolutions it counts its own alone."""
    model = archs.build("hyena", "100k", kernel="conv1d")
    tokens_BT = torch.zeros(BATCH, LENGTH, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        model.logits(model(tokens_BT)[0])
    seen = counter.get_total_flops() / tokens_BT.numel()
    for block in model.blocks:
        seen += long_conv_flops(model.config.d_model, LENGTH, 0)
        seen += block.mixer.filter.flops() * (1 - 1 / BATCH)
    assert model.forward_flops(LENGTH) == round(seen)


def test_a_token_costs_what_it_has_read(model):
    one, two = (model.forward_flops(1, past) for past in (1000, 3000))
    assert two - one == 2 * 2000 * model.config.d_model * model.config.n_layer


def test_state_is_every_input_and_one_filter_for_all(model):
    with torch.no_grad():
        _, states = model(
            torch.zeros(BATCH, LENGTH, dtype=torch.long), model.init_state(BATCH, LENGTH)
        )
    E, layers = model.config.d_model, model.config.n_layer
    tail, row = BATCH * 2 * 3 * E * 4, (BATCH + 1) * E * 4
    assert machine.tensor_bytes(states) == layers * (tail + 8 + LENGTH * row)
    traffic = [
        sum(block.state_traffic(BATCH, tokens, past) for block in model.blocks)
        for tokens, past in ((LENGTH, 0), (1, LENGTH))
    ]
    assert traffic[0] == layers * (tail + 8 + LENGTH * row)
    assert traffic[1] == layers * (2 * (tail + 8) + (LENGTH + 1) * row)


def test_float32_transforms_are_float64_sums():
    torch.manual_seed(0)
    held, taps = torch.randn(2, 4, 1000).double(), torch.randn(4, 1000).double()
    expected = long_conv(held, taps, 1000, kernel="plain")
    seen = long_conv(held.float(), taps.float(), 1000, kernel="fft")
    torch.testing.assert_close(seen.double(), expected, rtol=1e-4, atol=1e-4)
