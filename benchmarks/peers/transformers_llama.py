"""Llama of Hugging Face's transformers, with its default attention, torch's SDPA."""

from typing import Any

from archs import LanguageModel, llama
from archs._spine import EPS
from benchmarks.peers._peer import Module, Pairs, Peer
from benchmarks.peers._transformers import Transformers
from benchmarks.pretrained import library


def ours(size: str, max_len: int) -> LanguageModel:
    return LanguageModel(llama.SIZES[size], llama.Block)


def like(config: Any) -> LanguageModel:
    shape = llama.Config(
        d_model=config.hidden_size,
        n_layer=config.num_hidden_layers,
        n_head=config.num_attention_heads,
        n_kv_head=config.num_key_value_heads,
        vocab_size=config.vocab_size,
        d_mlp=config.intermediate_size,
    )
    return LanguageModel(shape, llama.Block)


def theirs(model: Module) -> Transformers:
    config, lib = model.config, library()
    peer = lib.LlamaForCausalLM(
        lib.LlamaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=config.d_mlp,
            num_hidden_layers=config.n_layer,
            num_attention_heads=config.n_head,
            num_key_value_heads=config.n_kv_head,
            rms_norm_eps=EPS,
            tie_word_embeddings=True,
        )
    )
    return Transformers(peer, pairs(peer, model), cache="past_key_values")


def pairs(peer: Module, model: Module) -> Pairs:
    body = peer.model
    found = [(body.embed_tokens.weight, model.embed.weight), (body.norm.weight, model.norm.weight)]
    for layer, block in zip(body.layers, model.blocks, strict=True):
        attention, mlp = layer.self_attn, layer.mlp
        keys = attention.k_proj.out_features
        q, k, v = block.mixer.qkv.weight.split((len(block.mixer.out.weight), keys, keys))
        gate, up = block.mlp.up.weight.chunk(2)
        found += [
            (layer.input_layernorm.weight, block.mix_norm.weight),
            (layer.post_attention_layernorm.weight, block.mlp_norm.weight),
            (attention.q_proj.weight, q),
            (attention.k_proj.weight, k),
            (attention.v_proj.weight, v),
            (attention.o_proj.weight, block.mixer.out.weight),
            (mlp.gate_proj.weight, gate),
            (mlp.up_proj.weight, up),
            (mlp.down_proj.weight, block.mlp.down.weight),
        ]
    return found


PEERS = [
    Peer(
        module=llama,
        impl="transformers",
        distribution="transformers",
        ours=ours,
        theirs=theirs,
        like=like,
        pairs=pairs,
    )
]
