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


def shape(config: Any) -> dict[str, Any]:
    """Of Llama and its descendants, as transformers names it."""
    return {
        "vocab_size": config.vocab_size,
        "hidden_size": config.d_model,
        "intermediate_size": config.d_mlp,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "rms_norm_eps": EPS,
        "tie_word_embeddings": True,
    }


def pairs(peer: Module, model: Module) -> Pairs:
    """The weights of two models, as `copy` wants them."""
    found = without_mlps(peer, model)
    for layer, block in zip(peer.model.layers, model.blocks, strict=True):
        gate, up = block.mlp.up.weight.chunk(2)
        found += [
            (layer.mlp.gate_proj.weight, gate),
            (layer.mlp.up_proj.weight, up),
            (layer.mlp.down_proj.weight, block.mlp.down.weight),
        ]
    return found


def without_mlps(peer: Module, model: Module) -> Pairs:
    """Those of all but the MLPs."""
    body = peer.model
    found = [(body.embed_tokens.weight, model.embed.weight), (body.norm.weight, model.norm.weight)]
    for layer, block in zip(body.layers, model.blocks, strict=True):
        attention = layer.self_attn
        queries, keys = attention.q_proj.out_features, attention.k_proj.out_features
        q, k, v = block.mixer.qkv.weight.split((queries, keys, keys))
        found += [
            (layer.input_layernorm.weight, block.mix_norm.weight),
            (layer.post_attention_layernorm.weight, block.mlp_norm.weight),
            (attention.q_proj.weight, q),
            (attention.k_proj.weight, k),
            (attention.v_proj.weight, v),
            (attention.o_proj.weight, block.mixer.out.weight),
        ]
    return found


def theirs(model: Module) -> Transformers:
    lib = library()
    peer = lib.LlamaForCausalLM(lib.LlamaConfig(**shape(model.config)))
    return Transformers(peer, pairs(peer, model), cache="past_key_values")


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
