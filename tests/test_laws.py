"""What the harness takes for granted of an architecture; a new file is tested by existing."""

import pytest
import torch

import archs
from archs._sizes import NAMED
from benchmarks import laws


@pytest.fixture(params=archs.names())
def arch(request):
    return request.param


@pytest.mark.parametrize("law", laws.LAWS, ids=lambda law: law.__name__)
def test_law(law, arch):
    law(laws.subject(arch))


def test_what_keeps_a_position_keeps_more_of_a_longer_past(arch):
    subject = laws.subject(arch)
    sizes = laws.states_bytes(subject)
    keeps = any(hasattr(state, "position") for state in subject.build().init_state(1, 8))
    assert (sizes[0] < sizes[1]) == keeps


@pytest.mark.parametrize("size", NAMED)
def test_sizes_are_matched(size):
    counts = {name: laws.named_params(size, name) for name in archs.names()}
    spread = max(counts.values()) / min(counts.values()) - 1
    assert spread <= laws.spread_allowed(size), counts


def test_a_position_table_refuses_what_it_has_no_place_for():
    model = archs.build("gpt2", "100k", max_len=8)
    with pytest.raises(ValueError, match="places for 8 tokens and was given 9"):
        model(torch.zeros(1, 9, dtype=torch.long))


def test_unknown_names_are_refused_by_name():
    with pytest.raises(ValueError, match="no architecture 'mambo'; archs/ holds gpt2, gru"):
        archs.build("mambo", "100k")
    with pytest.raises(ValueError, match="lstm has no size '7b'; it has 100k, 800k"):
        archs.build("lstm", "7b")
