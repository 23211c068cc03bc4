"""Mamba of Hugging Face's transformers, as it runs where there are no CUDA kernels for it."""

from typing import Any

from archs import LanguageModel, mamba
from archs._spine import EPS
from benchmarks.peers import _mamba
from benchmarks.peers._peer import Module, Pairs, Peer
from benchmarks.peers._transformers import Transformers
from benchmarks.pretrained import library


def like(config: Any) -> LanguageModel:
    shape = mamba.Config(
        d_model=config.hidden_size,
        n_layer=config.num_hidden_layers,
        vocab_size=config.vocab_size,
        d_inner=config.intermediate_size,
        d_state=config.state_size,
        d_conv=config.conv_kernel,
    )
    return LanguageModel(shape, mamba.Block)


def theirs(model: Module) -> Transformers:
    config, lib = model.config, library()
    peer = lib.MambaForCausalLM(
        lib.MambaConfig(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            state_size=config.d_state,
            num_hidden_layers=config.n_layer,
            expand=config.d_inner // config.d_model,
            conv_kernel=config.d_conv,
            time_step_rank=config.dt_rank,
            layer_norm_epsilon=EPS,
            tie_word_embeddings=True,
        )
    )
    return Transformers(peer, pairs(peer, model), cache="cache_params")


def pairs(peer: Module, model: Module) -> Pairs:
    body = peer.backbone
    found = [(body.embeddings.weight, model.embed.weight), (body.norm_f.weight, model.norm.weight)]
    for layer, block in zip(body.layers, model.blocks, strict=True):
        found += _mamba.pairs(layer, block)
    return found


PEERS = [
    Peer(
        module=mamba,
        impl="transformers",
        distribution="transformers",
        ours=_mamba.ours,
        theirs=theirs,
        like=like,
        pairs=pairs,
    )
]
