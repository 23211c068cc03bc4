"""Mistral of Hugging Face's transformers: torch's SDPA under the mask of a band."""

from archs import LanguageModel, swa
from benchmarks.peers._peer import Module, Peer
from benchmarks.peers._transformers import Transformers
from benchmarks.peers.transformers_llama import pairs, shape
from benchmarks.pretrained import library


def ours(size: str, max_len: int) -> LanguageModel:
    return LanguageModel(swa.SIZES[size], swa.Block)


def theirs(model: Module) -> Transformers:
    lib = library()
    config = lib.MistralConfig(**shape(model.config), sliding_window=model.config.window)
    peer = lib.MistralForCausalLM(config)
    return Transformers(peer, pairs(peer, model), cache="past_key_values")


PEERS = [
    Peer(module=swa, impl="transformers", distribution="transformers", ours=ours, theirs=theirs)
]
