"""GPT-2 of Hugging Face's transformers, with its default attention, torch's SDPA."""

from dataclasses import replace
from typing import Any

from archs import LanguageModel, gpt2
from archs._spine import EPS
from benchmarks.peers._peer import Module, Pairs, Peer, affine
from benchmarks.peers._transformers import Transformers
from benchmarks.pretrained import library


def ours(size: str, max_len: int) -> LanguageModel:
    return LanguageModel(replace(gpt2.SIZES[size], max_len=max_len), gpt2.Block)


def like(config: Any) -> LanguageModel:
    shape = gpt2.Config(
        d_model=config.n_embd,
        n_layer=config.n_layer,
        n_head=config.n_head,
        vocab_size=config.vocab_size,
        max_len=config.n_positions,
        d_mlp=config.n_inner or 4 * config.n_embd,
    )
    return LanguageModel(shape, gpt2.Block)


def theirs(model: Module) -> Transformers:
    config, lib = model.config, library()
    peer = lib.GPT2LMHeadModel(
        lib.GPT2Config(
            vocab_size=config.vocab_size,
            n_positions=config.max_len,
            n_embd=config.d_model,
            n_layer=config.n_layer,
            n_head=config.n_head,
            n_inner=config.d_mlp,
            layer_norm_epsilon=EPS,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )
    return Transformers(peer, pairs(peer, model), cache="past_key_values")


def pairs(peer: Module, model: Module) -> Pairs:
    body = peer.transformer
    found = [(body.wte.weight, model.embed.weight), *affine(body.ln_f, model.norm)]
    found += [(body.wpe.weight, model.blocks[0].positions.weight)]
    for layer, block in zip(body.h, model.blocks, strict=True):
        found += affine(layer.ln_1, block.mix_norm) + affine(layer.ln_2, block.mlp_norm)
        for conv1d, linear in (
            (layer.attn.c_attn, block.qkv),
            (layer.attn.c_proj, block.out),
            (layer.mlp.c_fc, block.up),
            (layer.mlp.c_proj, block.down),
        ):
            found += [(conv1d.weight, linear.weight.t()), (conv1d.bias, linear.bias)]
    return found


PEERS = [
    Peer(
        module=gpt2,
        impl="transformers",
        distribution="transformers",
        ours=ours,
        theirs=theirs,
        like=like,
        pairs=pairs,
    )
]
