"""Mamba of Hugging Face's transformers, as it runs where there are no CUDA kernels for it."""

from archs import mamba
from archs._spine import EPS
from benchmarks.peers import _mamba
from benchmarks.peers._peer import Module, Peer
from benchmarks.peers._transformers import Transformers, library


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
    body = peer.backbone
    pairs = [(body.embeddings.weight, model.embed.weight), (body.norm_f.weight, model.norm.weight)]
    for layer, block in zip(body.layers, model.blocks, strict=True):
        pairs += _mamba.pairs(layer, block)
    return Transformers(peer, pairs, cache="cache_params")


PEERS = [
    Peer(
        module=mamba,
        impl="transformers",
        distribution="transformers",
        ours=_mamba.ours,
        theirs=theirs,
    )
]
