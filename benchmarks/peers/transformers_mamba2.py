"""Mamba-2 of Hugging Face's transformers, as it runs where there are no CUDA kernels for it."""

from functools import partial
from typing import Any

from archs import LanguageModel, mamba2
from archs._sizes import NAMED
from archs._spine import EPS
from benchmarks.peers._peer import Module, Pairs, Peer, affine
from benchmarks.peers._transformers import Transformers
from benchmarks.pretrained import library

AS_SHIPPED, AS_OURS = 256, 64  # tokens a chunk


def ours(size: str, max_len: int) -> LanguageModel:
    """The paper's d_inner = 2 d_model, heads of 64 and state of 128, at the size's depth."""
    shape = NAMED[size]
    config = mamba2.Config(
        d_model=shape.d_model,
        n_layer=shape.n_layer,
        vocab_size=shape.vocab_size,
        d_inner=2 * shape.d_model,
    )
    return LanguageModel(config, mamba2.Block)


def like(config: Any) -> LanguageModel:
    shape = mamba2.Config(
        d_model=config.hidden_size,
        n_layer=config.num_hidden_layers,
        vocab_size=config.vocab_size,
        d_inner=config.num_heads * config.head_dim,
        d_head=config.head_dim,
        d_state=config.state_size,
        d_conv=config.conv_kernel,
    )
    return LanguageModel(shape, mamba2.Block)


def theirs(model: Module, chunk: int) -> Transformers:
    config, lib = model.config, library()
    peer = lib.Mamba2ForCausalLM(
        lib.Mamba2Config(
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            state_size=config.d_state,
            num_hidden_layers=config.n_layer,
            expand=config.d_inner // config.d_model,
            num_heads=config.n_head,
            head_dim=config.d_head,
            n_groups=1,
            conv_kernel=config.d_conv,
            chunk_size=chunk,
            layer_norm_epsilon=EPS,
            tie_word_embeddings=True,
        )
    )
    return Transformers(peer, pairs(peer, model), cache="cache_params")


def pairs(peer: Module, model: Module) -> Pairs:
    body = peer.backbone
    found = [(body.embeddings.weight, model.embed.weight), (body.norm_f.weight, model.norm.weight)]
    for layer, block in zip(body.layers, model.blocks, strict=True):
        mixer, source = layer.mixer, block.mixer
        found += affine(mixer.conv1d, source.conv)
        found += [
            (layer.norm.weight, block.norm.weight),
            (mixer.in_proj.weight, source.inputs.weight),
            (mixer.dt_bias, source.dt_bias_H),
            (mixer.A_log, source.a_log_H),
            (mixer.D, source.skip_H),
            (mixer.norm.weight, source.norm.weight),
            (mixer.out_proj.weight, source.out.weight),
        ]
    return found


PEERS = [
    Peer(
        module=mamba2,
        impl=impl,
        distribution="transformers",
        ours=ours,
        theirs=partial(theirs, chunk=chunk),
        like=like,
        pairs=pairs,
    )
    for impl, chunk in (("transformers", AS_SHIPPED), (f"transformers-chunk{AS_OURS}", AS_OURS))
]
