"""DiffLlama of Hugging Face's transformers: two attentions over values that are copied for each."""

from archs import LanguageModel, diff_transformer
from benchmarks.peers._peer import Module, Peer, copy
from benchmarks.peers._transformers import Transformers
from benchmarks.peers.transformers_llama import pairs, shape
from benchmarks.pretrained import library


def ours(size: str, max_len: int) -> LanguageModel:
    return LanguageModel(diff_transformer.SIZES[size], diff_transformer.Block)


def theirs(model: Module) -> Transformers:
    lib = library()
    peer = lib.DiffLlamaForCausalLM(lib.DiffLlamaConfig(**shape(model.config)))
    side = Transformers(peer, pairs(peer, model), cache="past_key_values")
    for layer, block in zip(peer.model.layers, model.blocks, strict=True):
        attention, mixer = layer.self_attn, block.mixer
        # a head's value is two of theirs, which lie half of all heads apart
        values = mixer.qkv.weight[-attention.v_proj.out_features :]
        halves = values.unflatten(0, (-1, 2, mixer.d_head)).transpose(0, 1)
        copy(
            [
                (attention.v_proj.weight, halves.flatten(0, 2)),
                (attention.lambda_q1, mixer.lambda_q[0]),
                (attention.lambda_k1, mixer.lambda_k[0]),
                (attention.lambda_q2, mixer.lambda_q[1]),
                (attention.lambda_k2, mixer.lambda_k[1]),
            ]
        )
    return side


PEERS = [
    Peer(
        module=diff_transformer,
        impl="transformers",
        distribution="transformers",
        ours=ours,
        theirs=theirs,
    )
]
