"""Mixtral of Hugging Face's transformers, with its default way through the experts."""

from archs import LanguageModel, moe
from benchmarks.peers._peer import Module, Peer
from benchmarks.peers._transformers import Transformers
from benchmarks.peers.transformers_llama import shape, without_mlps
from benchmarks.pretrained import library


def ours(size: str, max_len: int) -> LanguageModel:
    return LanguageModel(moe.SIZES[size], moe.Block)


def theirs(model: Module) -> Transformers:
    config, lib = model.config, library()
    peer = lib.MixtralForCausalLM(
        lib.MixtralConfig(
            **shape(config),
            num_local_experts=config.n_expert,
            num_experts_per_tok=config.n_active,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4},
        )
    )
    pairs = without_mlps(peer, model)
    for layer, block in zip(peer.model.layers, model.blocks, strict=True):
        pairs += [
            (layer.mlp.gate.weight, block.mlp.router.weight),
            (layer.mlp.experts.gate_up_proj, block.mlp.weight_up),
            (layer.mlp.experts.down_proj, block.mlp.weight_down),
        ]
    return Transformers(peer, pairs, cache="past_key_values")


PEERS = [
    Peer(module=moe, impl="transformers", distribution="transformers", ours=ours, theirs=theirs)
]
