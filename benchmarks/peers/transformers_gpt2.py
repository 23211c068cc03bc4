"""GPT-2 of Hugging Face's transformers, with its default attention, torch's SDPA."""

from dataclasses import replace

from archs import LanguageModel, gpt2
from archs._spine import EPS
from benchmarks.peers._peer import Module, Peer, affine
from benchmarks.peers._transformers import Transformers, library


def ours(size: str, max_len: int) -> LanguageModel:
    return LanguageModel(replace(gpt2.SIZES[size], max_len=max_len), gpt2.Block)


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
    body = peer.transformer
    pairs = [(body.wte.weight, model.embed.weight), *affine(body.ln_f, model.norm)]
    pairs += [(body.wpe.weight, model.blocks[0].positions.weight)]
    for layer, block in zip(body.h, model.blocks, strict=True):
        pairs += affine(layer.ln_1, block.mix_norm) + affine(layer.ln_2, block.mlp_norm)
        for conv1d, linear in (
            (layer.attn.c_attn, block.qkv),
            (layer.attn.c_proj, block.out),
            (layer.mlp.c_fc, block.up),
            (layer.mlp.c_proj, block.down),
        ):
            pairs += [(conv1d.weight, linear.weight.t()), (conv1d.bias, linear.bias)]
    return Transformers(peer, pairs, cache="past_key_values")


PEERS = [
    Peer(module=gpt2, impl="transformers", distribution="transformers", ours=ours, theirs=theirs)
]
