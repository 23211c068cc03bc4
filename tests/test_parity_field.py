"""Agreement of whole architectures with others' code, or with their paper's equations written out,
where no package is a peer in benchmarks/peers that could be timed beside ours."""

from dataclasses import replace

import pytest
import torch

import archs
from archs import griffin, hawk, hyena, mamba3
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
    """The paper's equations 8 to 14, where nothing is too large for them; finite where it is."""
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


@torch.no_grad()
def test_mamba3_is_its_complex_recurrence():
    """Its mixer against the paper's recurrence with complex eigenvalues (proposition 2), token by
    token: the state turns, and B and C do not. Rotating B and C instead is the same."""
    torch.manual_seed(0)
    config = mamba3.Config(
        d_model=12, n_layer=1, d_inner=12, d_mlp=4, d_head=6, d_state=8, vocab_size=8
    )
    mixer = disturbed(mamba3.Mixer(config).double())
    u = torch.randn(2, 50, 12, dtype=torch.float64)
    H, K, N, A = 2, 6, 8, 2
    z, x, b, c, dt, a, lam, theta = (u @ mixer.inputs.weight.T).split(
        (12, 12, N, N, H, H, H, A), dim=-1
    )
    dt = torch.log1p((dt + mixer.dt_bias_H).exp())
    decay = -torch.log1p(a.exp()).clamp(min=mamba3.SLOWEST) * dt
    lam = 1 / (1 + (-lam).exp())

    def normed(v, norm, bias):
        v = v / (v.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight
        v = v[:, :, None] + bias
        turning = torch.complex(v[..., :A], v[..., A : 2 * A])
        return torch.cat([turning, v[..., 2 * A :].to(turning.dtype)], dim=-1)

    b, c = normed(b, mixer.norm_b, mixer.bias_b_HN), normed(c, mixer.norm_c, mixer.bias_c_HN)
    x = x.unflatten(-1, (H, K))
    turn = torch.zeros(2, 50, H, N - A, dtype=torch.float64)
    turn[..., :A] = torch.pi * theta.tanh()[:, :, None] * dt[..., None]
    # eigenvalues exp(dt (A - iθ)): a state that turns back as far as B and C would turn on
    step = torch.polar(decay.exp()[..., None].expand_as(turn), -turn)
    h, held, outputs = torch.zeros(2, H, N - A, K, dtype=b.dtype), 0, []
    for t in range(50):
        entering = b[:, t, :, :, None] * x[:, t, :, None]
        h = step[:, t, ..., None] * (h + ((1 - lam) * dt)[:, t, :, None, None] * held)
        h = h + (lam * dt)[:, t, :, None, None] * entering
        held = entering
        outputs.append((c[:, t, :, :, None].conj() * h).sum(-2).real)
    y = torch.stack(outputs, dim=1) + mixer.skip_H[:, None] * x
    expected = (y.flatten(2) * z / (1 + (-z).exp())) @ mixer.out.weight.T
    torch.testing.assert_close(mixer(u, None)[0], expected)


@torch.no_grad()
def test_hyena_is_its_equations_with_a_toeplitz_matrix():
    """Its mixer, token by token and channel by channel; complex exponentials as the paper has."""
    torch.manual_seed(0)
    config = hyena.Config(
        d_model=4, n_layer=1, d_mlp=4, vocab_size=8, d_filter=6, bands=3, horizon=20
    )
    mixer = disturbed(hyena.Mixer(config).double())
    T = 33  # beyond the horizon too
    u = torch.randn(2, T, 4, dtype=torch.float64)

    x = torch.cat([torch.zeros(2, 2, 12, dtype=u.dtype), u @ mixer.inputs.weight.T], dim=1)
    taps = mixer.conv.weight[:, 0]
    x = sum(x[:, w : w + T] * taps[:, w] for w in range(3)) + mixer.conv.bias
    q, k, v = x[..., :4], x[..., 4:8], x[..., 8:]

    lag = torch.arange(T, dtype=torch.float64)
    wave = torch.exp(
        -2j * torch.pi * lag[:, None] / 20 * torch.tensor([1e-4, 1.00005, 2.0], dtype=torch.float64)
    )
    h = torch.cat([lag[:, None] / 19, wave.real, wave.imag], dim=1)
    for weight, bias in mixer.filter.layers:
        h = torch.sin(mixer.filter.frequency * (h @ weight.T + bias))
    h = h @ mixer.filter.weight_out.T
    ends = torch.log(torch.tensor(0.01)).abs().double()
    rates = torch.linspace(0, 1, 4, dtype=torch.float64) * (ends / 0.3 - ends / 1.5) + ends / 1.5
    h = h * torch.exp(-lag[:, None] / 19 * rates)

    toeplitz = torch.zeros(4, T, T, dtype=torch.float64)
    for t in range(T):
        for s in range(t + 1):
            toeplitz[:, t, s] = h[t - s]
    y = torch.einsum("ets,bse->bte", toeplitz, k * v) + mixer.skip_E * (k * v)
    expected = (q * y) @ mixer.out.weight.T
    torch.testing.assert_close(mixer(u, None)[0], expected, rtol=1e-6, atol=1e-6)


@torch.no_grad()
def test_bert_is_transformers_bert():
    """Its encoder, all three of whose tables are summed; ours has no second kind of segment."""
    transformers = pytest.importorskip("transformers")
    from benchmarks.peers._peer import affine, copy

    torch.manual_seed(0)
    model, tokens_BT = disturbed(archs.build("bert", "100k", max_len=60)), tokens(60)
    config = model.config
    peer = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=256,
            hidden_size=config.d_model,
            num_hidden_layers=config.n_layer,
            num_attention_heads=config.n_head,
            intermediate_size=config.d_mlp,
            max_position_embeddings=60,
            layer_norm_eps=1e-5,
        ),
        add_pooling_layer=False,
    ).eval()
    tables = peer.embeddings
    tables.token_type_embeddings.weight.zero_()
    pairs = [
        (tables.word_embeddings.weight, model.embed.weight),
        (tables.position_embeddings.weight, model.blocks[0].positions.weight),
        *affine(tables.LayerNorm, model.blocks[0].place_norm),
    ]
    for layer, block in zip(peer.encoder.layer, model.blocks, strict=True):
        attention = layer.attention
        for name, weight, bias in zip(
            ("query", "key", "value"),
            block.qkv.weight.chunk(3),
            block.qkv.bias.chunk(3),
            strict=True,
        ):
            linear = getattr(attention.self, name)
            pairs += [(linear.weight, weight), (linear.bias, bias)]
        pairs += affine(attention.output.dense, block.mixed)
        pairs += affine(attention.output.LayerNorm, block.mix_norm)
        pairs += affine(layer.intermediate.dense, block.wide)
        pairs += affine(layer.output.dense, block.narrow)
        pairs += affine(layer.output.LayerNorm, block.mlp_norm)
    copy(pairs)
    expected = peer(tokens_BT).last_hidden_state
    torch.testing.assert_close(model(tokens_BT)[0], expected, **TOLERANCE)
