"""Agreement with implementations we did not write: their weights in our models, the same logits.

Each test copies weights, then compares a whole forward pass and a token-by-token decode.
"""

from dataclasses import replace

import pytest
import torch
from torch import nn

import archs
from archs import gpt2, llama, mamba, mamba2
from archs._ops import recurrent

transformers = pytest.importorskip("transformers", reason="pip install 'seqfrontier[peers]'")

VOCAB, LENGTH = 96, 150
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}


def ours(module, **changes):
    config = replace(module.SIZES["100k"], vocab_size=VOCAB, **changes)
    return archs.LanguageModel(config, module.Block)


@torch.no_grad()
def copy(pairs):
    """Each (ours, theirs) in place. Raises if a shape differs, so nothing is broadcast."""
    for target, source in pairs:
        assert target.shape == source.shape
        target.copy_(source)


def copied(theirs, module):
    return [(module.weight, theirs.weight), (module.bias, theirs.bias)]


@torch.no_grad()
def assert_same_logits(model, peer):
    torch.manual_seed(1)
    tokens_BT = torch.randint(VOCAB, (2, LENGTH))
    expected = peer(tokens_BT, use_cache=False).logits
    x_BTD, _ = model(tokens_BT)
    torch.testing.assert_close(model.logits(x_BTD), expected, **TOLERANCE)

    states, parts = model.init_state(2, LENGTH), []
    for token_B1 in tokens_BT.split(1, dim=1):
        x_B1D, states = model(token_B1, states)
        parts.append(model.logits(x_B1D))
    torch.testing.assert_close(torch.cat(parts, dim=1), expected, **TOLERANCE)


def spread(peer):
    """Larger weights than fresh ones have, so that a wrong gate or scale cannot hide."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            if "A_log" not in name:
                parameter.add_(torch.randn_like(parameter) * 0.05)
    return peer.eval()


def test_gpt2_is_transformers_gpt2():
    model = ours(gpt2, max_len=LENGTH)
    config = model.config
    peer = spread(
        transformers.GPT2LMHeadModel(
            transformers.GPT2Config(
                vocab_size=VOCAB,
                n_positions=LENGTH,
                n_embd=config.d_model,
                n_layer=config.n_layer,
                n_head=config.n_head,
                n_inner=config.d_mlp,
                layer_norm_epsilon=1e-5,
            )
        )
    )
    body = peer.transformer
    pairs = [(model.embed.weight, body.wte.weight), *copied(body.ln_f, model.norm)]
    pairs += [(model.blocks[0].positions.weight, body.wpe.weight)]
    for block, layer in zip(model.blocks, body.h, strict=True):
        pairs += copied(layer.ln_1, block.mix_norm) + copied(layer.ln_2, block.mlp_norm)
        for linear, conv1d in [
            (block.qkv, layer.attn.c_attn),
            (block.out, layer.attn.c_proj),
            (block.up, layer.mlp.c_fc),
            (block.down, layer.mlp.c_proj),
        ]:
            pairs += [(linear.weight, conv1d.weight.t()), (linear.bias, conv1d.bias)]
    copy(pairs)
    assert_same_logits(model, peer)


def test_llama_is_transformers_llama():
    model = ours(llama)
    config = model.config
    peer = spread(
        transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=VOCAB,
                hidden_size=config.d_model,
                intermediate_size=config.d_mlp,
                num_hidden_layers=config.n_layer,
                num_attention_heads=config.n_head,
                num_key_value_heads=config.n_kv_head,
                rms_norm_eps=1e-5,
                tie_word_embeddings=True,
            )
        )
    )
    pairs = [(model.embed.weight, peer.model.embed_tokens.weight)]
    pairs += [(model.norm.weight, peer.model.norm.weight)]
    for block, layer in zip(model.blocks, peer.model.layers, strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        qkv = [attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]
        pairs += [
            (block.mix_norm.weight, layer.input_layernorm.weight),
            (block.mlp_norm.weight, layer.post_attention_layernorm.weight),
            (block.mixer.qkv.weight, torch.cat(qkv)),
            (block.mixer.out.weight, attention.o_proj.weight),
            (block.mlp.up.weight, torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])),
            (block.mlp.down.weight, mlp.down_proj.weight),
        ]
    copy(pairs)
    assert_same_logits(model, peer)


def test_mamba_is_transformers_mamba():
    model = ours(mamba, d_inner=128)
    config = model.config
    peer = spread(
        transformers.MambaForCausalLM(
            transformers.MambaConfig(
                vocab_size=VOCAB,
                hidden_size=config.d_model,
                state_size=config.d_state,
                num_hidden_layers=config.n_layer,
                expand=config.d_inner // config.d_model,
                conv_kernel=config.d_conv,
                layer_norm_epsilon=1e-5,
            )
        )
    )
    pairs = [(model.embed.weight, peer.backbone.embeddings.weight)]
    pairs += [(model.norm.weight, peer.backbone.norm_f.weight)]
    for block, layer in zip(model.blocks, peer.backbone.layers, strict=True):
        mixer, theirs = block.mixer, layer.mixer
        pairs += copied(theirs.conv1d, mixer.conv) + copied(theirs.dt_proj, mixer.dt)
        pairs += [
            (block.norm.weight, layer.norm.weight),
            (mixer.inputs.weight, theirs.in_proj.weight),
            (mixer.select.weight, theirs.x_proj.weight),
            (mixer.a_log_EN, theirs.A_log),
            (mixer.skip_E, theirs.D),
            (mixer.out.weight, theirs.out_proj.weight),
        ]
    copy(pairs)
    assert_same_logits(model, peer)


def test_mamba2_is_transformers_mamba2():
    model = ours(mamba2, d_inner=128)
    config = model.config
    peer = spread(
        transformers.Mamba2ForCausalLM(
            transformers.Mamba2Config(
                vocab_size=VOCAB,
                hidden_size=config.d_model,
                state_size=config.d_state,
                num_hidden_layers=config.n_layer,
                expand=config.d_inner // config.d_model,
                num_heads=config.n_head,
                head_dim=config.d_head,
                n_groups=1,
                conv_kernel=config.d_conv,
                chunk_size=32,
                layer_norm_epsilon=1e-5,
                tie_word_embeddings=True,
            )
        )
    )
    pairs = [(model.embed.weight, peer.backbone.embeddings.weight)]
    pairs += [(model.norm.weight, peer.backbone.norm_f.weight)]
    for block, layer in zip(model.blocks, peer.backbone.layers, strict=True):
        mixer, theirs = block.mixer, layer.mixer
        pairs += copied(theirs.conv1d, mixer.conv)
        pairs += [
            (block.norm.weight, layer.norm.weight),
            (mixer.inputs.weight, theirs.in_proj.weight),
            (mixer.dt_bias_H, theirs.dt_bias),
            (mixer.a_log_H, theirs.A_log),
            (mixer.skip_H, theirs.D),
            (mixer.norm.weight, theirs.norm.weight),
            (mixer.out.weight, theirs.out_proj.weight),
        ]
    copy(pairs)
    assert_same_logits(model, peer)


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
