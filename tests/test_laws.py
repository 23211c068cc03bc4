"""What the harness takes for granted of an architecture; a new file is tested by existing."""

import pytest
import torch

import archs
from archs import llama, mamba2, swa
from archs._sizes import NAMED, non_embedding_params
from archs._spine import LanguageModel
from benchmarks import laws

ARCHS = [*archs.names(), "hybrid:rwm"]
HELD = [(law, arch) for arch in ARCHS for law in laws.of(laws.subject(arch))]


@pytest.mark.parametrize(
    ("law", "arch"), HELD, ids=lambda value: value if isinstance(value, str) else value.__name__
)
def test_law(law, arch):
    law(laws.subject(arch))


@pytest.mark.parametrize("arch", list(filter(archs.is_causal, ARCHS)))
def test_what_keeps_more_of_a_longer_past_keeps_a_position(arch):
    subject = laws.subject(arch)
    sizes = laws.states_bytes(subject)
    keeps = any(hasattr(state, "position") for state in subject.build().init_state(1, 8))
    assert sizes[0] == sizes[1] or keeps


@pytest.mark.parametrize("size", NAMED)
def test_sizes_are_matched(size):
    counts = {name: laws.named_params(size, name) for name in archs.names()}
    spread = max(counts.values()) / min(counts.values()) - 1
    assert spread <= laws.spread_allowed(size), counts


@pytest.mark.parametrize("pattern", ["mmma", "mmmmmmmmmmma", "mw"])
def test_a_pattern_names_the_layers(pattern):
    module = archs.load(f"hybrid:{pattern}")
    config = module.SIZES["800k"]
    mixers = [type(block.mixer) for block in LanguageModel(config, module.Block).blocks]
    letters = {"m": mamba2.Mixer, "a": llama.Attention, "w": swa.Attention}
    assert mixers == [letters[pattern[i % len(pattern)]] for i in range(config.n_layer)]
    params = non_embedding_params(config, module.Block)
    assert params == pytest.approx(NAMED["800k"].budget, rel=0.03)


def test_a_position_table_refuses_what_it_has_no_place_for():
    model = archs.build("gpt2", "100k", max_len=8)
    with pytest.raises(ValueError, match="places for 8 tokens and was given 9"):
        model(torch.zeros(1, 9, dtype=torch.long))


def test_unknown_names_are_refused_by_name():
    with pytest.raises(ValueError, match=r"no architecture 'mambo'; archs/ holds .*gpt2, .*gru"):
        archs.build("mambo", "100k")
    with pytest.raises(ValueError, match="gru:mma: gru is one architecture only; ask for gru"):
        archs.build("gru:mma", "100k")
    with pytest.raises(ValueError, match=r"hybrid:maz is no pattern; its letters are m, r, a, w"):
        archs.build("hybrid:maz", "100k")
    with pytest.raises(
        ValueError, match=r"hybrid:aw is no pattern; .* at least one of them m or r"
    ):
        archs.build("hybrid:aw", "100k")
    with pytest.raises(ValueError, match="moe:8 is not moe:EXPERTS:ACTIVE, such as moe:8:2"):
        archs.build("moe:8", "100k")
    with pytest.raises(ValueError, match="moe:2:3: of 2 experts 1 to 2 can be active"):
        archs.build("moe:2:3", "100k")
    with pytest.raises(ValueError, match="lstm has no size '7b'; it has 100k, 800k"):
        archs.build("lstm", "7b")
