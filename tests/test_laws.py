"""What the harness takes for granted of an architecture; a new file is tested by existing."""

import pytest
import torch
from torch.utils._pytree import tree_leaves

import archs
from archs._sizes import NAMED, non_embedding_params

BATCH, LENGTH = 2, 24


@pytest.fixture(params=archs.names())
def arch(request):
    return request.param


@pytest.fixture
def model(arch):
    torch.manual_seed(0)
    return archs.build(arch, "100k", max_len=LENGTH).double()


@pytest.fixture
def tokens_BT():
    return torch.randint(256, (BATCH, LENGTH), generator=torch.Generator().manual_seed(1))


def test_output_ignores_the_future(model, tokens_BT):
    x_BTD, _ = model(tokens_BT)
    changed = tokens_BT.clone()
    changed[:, 15] = (changed[:, 15] + 1) % 256
    y_BTD, _ = model(changed)
    torch.testing.assert_close(x_BTD[:, :15], y_BTD[:, :15])
    assert (x_BTD[:, 15:] - y_BTD[:, 15:]).abs().amax(dim=(0, 2)).min() > 1e-9


@pytest.mark.parametrize("cuts", [[LENGTH], [1] * LENGTH, [10, 14], [7, 1, 1, 15]], ids=str)
def test_state_stands_for_the_past(model, tokens_BT, cuts):
    whole_BTD, _ = model(tokens_BT)
    states, parts = model.init_state(BATCH, LENGTH), []
    for piece in tokens_BT.split(cuts, dim=1):
        x_BTD, states = model(piece, states)
        parts.append(x_BTD)
    torch.testing.assert_close(torch.cat(parts, dim=1), whole_BTD)


def test_long_sequences_cut_anywhere(arch):
    """Past one SSD chunk and several scan blocks, with lengths no chunk divides."""
    torch.manual_seed(0)
    length = 201
    model = archs.build(arch, "100k", max_len=length).double()
    tokens_BT = torch.randint(256, (1, length))
    with torch.no_grad():
        whole_BTD, _ = model(tokens_BT)
        head_BTD, states = model(tokens_BT[:, :130], model.init_state(1, length))
        tail_BTD, _ = model(tokens_BT[:, 130:], states)
    torch.testing.assert_close(torch.cat([head_BTD, tail_BTD], dim=1), whole_BTD)


@pytest.mark.parametrize("short_conv", [True, False])
def test_the_laws_hold_with_and_without_a_short_convolution(arch, tokens_BT, short_conv):
    torch.manual_seed(0)
    model = archs.build(arch, "100k", max_len=LENGTH, short_conv=short_conv).double()
    widths = [
        max(
            (m.kernel_size[0] for m in block.modules() if isinstance(m, torch.nn.Conv1d)), default=1
        )
        for block in model.blocks
    ]
    assert set(widths) == {4 if short_conv else 1}

    whole_BTD, kept = model(tokens_BT)
    assert kept == [None] * len(model.blocks)
    for cuts in ([1] * LENGTH, [7, 1, 1, 15]):
        states, parts = model.init_state(BATCH, LENGTH), []
        for piece in tokens_BT.split(cuts, dim=1):
            x_BTD, states = model(piece, states)
            parts.append(x_BTD)
        torch.testing.assert_close(torch.cat(parts, dim=1), whole_BTD)

    changed = tokens_BT.clone()
    changed[:, 15] = (changed[:, 15] + 1) % 256
    torch.testing.assert_close(model(changed)[0][:, :15], whole_BTD[:, :15])
    model.nll(tokens_BT[:, :-1], tokens_BT[:, 1:]).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    with torch.device("meta"):
        assert model.moved_bytes(BATCH, 1, LENGTH) is not None


def test_training_keeps_no_state(model, tokens_BT):
    assert model(tokens_BT)[1] == [None] * len(model.blocks)


def test_every_parameter_gets_a_gradient(model, tokens_BT):
    model.nll(tokens_BT[:, :-1], tokens_BT[:, 1:]).sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_gradient_is_the_slope_of_the_loss(model, tokens_BT):
    """Against a central difference along one random direction through every parameter at once."""
    inputs, targets = tokens_BT[:, :-1], tokens_BT[:, 1:]
    weights = list(model.parameters())
    direction = [torch.randn_like(w) * 1e-2 for w in weights]
    grads = torch.autograd.grad(model.nll(inputs, targets).sum(), weights)
    slope = sum((g * d).sum() for g, d in zip(grads, direction, strict=True))

    step, losses = 1e-5, []
    with torch.no_grad():
        for sign in (1, -2, 1):
            for weight, d in zip(weights, direction, strict=True):
                weight.add_(d, alpha=sign * step)
            losses.append(model.nll(inputs, targets).sum())
    torch.testing.assert_close((losses[0] - losses[1]) / (2 * step), slope, rtol=1e-6, atol=1e-6)


def test_bfloat16_stays_close_to_float32(arch, tokens_BT):
    torch.manual_seed(0)
    model = archs.build(arch, "100k", max_len=LENGTH)
    with torch.no_grad():
        exact = model.nll(tokens_BT[:, :-1], tokens_BT[:, 1:])
        rounded = model.bfloat16().nll(tokens_BT[:, :-1], tokens_BT[:, 1:])
        x_BTD, _ = model(tokens_BT, model.init_state(BATCH, LENGTH))
    assert rounded.dtype == torch.float32 and x_BTD.dtype == torch.bfloat16
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.02)


def state_bytes(states):
    leaves = [leaf for leaf in tree_leaves(states) if leaf.ndim]
    return sum(leaf.untyped_storage().nbytes() for leaf in leaves)


def test_state_is_constant_or_linear_in_length(arch):
    """Charged by storage: a view would keep the whole buffer alive and show here."""
    model = archs.build(arch, "100k", max_len=64)
    sizes = []
    for length in (16, 32, 64):
        with torch.no_grad():
            _, states = model(torch.zeros(1, length, dtype=torch.long), model.init_state(1, length))
        sizes.append(state_bytes(states))
    short, middle, long = sizes
    assert long - middle == 2 * (middle - short)  # affine in length
    attends = any("attention" in name.lower() or name == "qkv" for name in module_names(model))
    assert (short == long) == (not attends)


def module_names(model):
    return [type(m).__name__ for m in model.modules()] + [
        name.rsplit(".")[-1] for name, _ in model.named_modules()
    ]


@pytest.mark.parametrize("size", NAMED)
def test_sizes_are_matched(size):
    counts = {}
    for name in archs.names():
        module = archs.load(name)
        counts[name] = non_embedding_params(module.SIZES[size], module.Block)
    spread = max(counts.values()) / min(counts.values()) - 1
    assert spread <= (0.03 if NAMED[size].budget < 1e6 else 0.02), counts


def test_a_position_table_refuses_what_it_has_no_place_for():
    model = archs.build("gpt2", "100k", max_len=8)
    with pytest.raises(ValueError, match="places for 8 tokens and was given 9"):
        model(torch.zeros(1, 9, dtype=torch.long))


def test_a_full_cache_refuses_more(arch):
    model = archs.build(arch, "100k", max_len=16)
    states = model.init_state(1, 4)
    if any(hasattr(state, "position") for state in states):
        with pytest.raises(ValueError, match="make it with max_len=5"):
            model(torch.zeros(1, 5, dtype=torch.long), states)
    else:
        model(torch.zeros(1, 5, dtype=torch.long), states)


def test_unknown_names_are_refused_by_name():
    with pytest.raises(ValueError, match="no architecture 'mambo'; archs/ holds gpt2, gru"):
        archs.build("mambo", "100k")
    with pytest.raises(ValueError, match="lstm has no size '7b'; it has 100k, 800k"):
        archs.build("lstm", "7b")
