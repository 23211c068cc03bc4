"""Gated DeltaNet of Hugging Face's transformers, where it is the recurrent part of OLMo Hybrid."""

import torch

from archs import LanguageModel, gated_deltanet
from archs._spine import EPS
from benchmarks.peers._peer import Module, Peer
from benchmarks.peers._transformers import Transformers
from benchmarks.pretrained import library


def ours(size: str, max_len: int) -> LanguageModel:
    return LanguageModel(gated_deltanet.SIZES[size], gated_deltanet.Block)


def theirs(model: Module) -> Transformers:
    config, lib = model.config, library()
    shape = lib.OlmoHybridConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        intermediate_size=config.d_mlp,
        num_hidden_layers=config.n_layer,
        num_attention_heads=config.n_head,
        linear_num_key_heads=config.n_head,
        linear_num_value_heads=config.n_head,
        linear_key_head_dim=config.d_key,
        linear_value_head_dim=2 * config.d_key,
        linear_conv_kernel_dim=config.d_conv,
        linear_allow_neg_eigval=False,
        rms_norm_eps=EPS,
        pad_token_id=None,
        eos_token_id=None,
        tie_word_embeddings=True,
    )
    shape.layer_types = ["linear_attention"] * config.n_layer  # it asks for attention when made
    peer = lib.OlmoHybridForCausalLM(shape)
    body = peer.model
    pairs = [(body.embed_tokens.weight, model.embed.weight), (body.norm.weight, model.norm.weight)]
    for layer, block in zip(body.layers, model.blocks, strict=True):
        mixer, source = layer.linear_attn, block.mixer
        keys = config.n_head * config.d_key
        q, k, v, z, beta, dt = source.inputs.weight.split(
            (keys, keys, 2 * keys, 2 * keys, config.n_head, config.n_head)
        )
        gate, up = block.mlp.up.weight.chunk(2)
        pairs += [
            (layer.input_layernorm.weight, block.mix_norm.weight),
            (mixer.q_proj.weight, q),
            (mixer.k_proj.weight, k),
            (mixer.v_proj.weight, v),
            (mixer.g_proj.weight, z),
            (mixer.b_proj.weight, beta),
            (mixer.a_proj.weight, dt),
            (mixer.conv1d.weight, source.conv.weight),
            (mixer.A_log, source.a_log_H),
            (mixer.dt_bias, source.dt_bias_H),
            (mixer.o_norm.weight, source.norm.weight),
            (mixer.o_proj.weight, source.out.weight),
            (layer.post_attention_layernorm.weight, block.mlp_norm.weight),
            (layer.mlp.gate_proj.weight, gate),
            (layer.mlp.up_proj.weight, up),
            (layer.mlp.down_proj.weight, block.mlp.down.weight),
        ]
    # without attention there is no cache to read the places and masks from, which none here needs
    return Transformers(
        peer,
        pairs,
        cache="past_key_values",
        position_ids=torch.zeros(1, 1, dtype=torch.long),
        attention_mask={"linear_attention": None},
    )


PEERS = [
    Peer(
        module=gated_deltanet,
        impl="transformers",
        distribution="transformers",
        ours=ours,
        theirs=theirs,
    )
]
