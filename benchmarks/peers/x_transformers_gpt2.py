"""GPT-2 put together from x-transformers, whose LayerNorm and attention have no biases."""

import importlib
import warnings
from typing import Any

from torch import Tensor, nn

from archs import gpt2
from benchmarks.peers._peer import Module, Peer, Side, affine, copy
from benchmarks.peers.transformers_gpt2 import ours


class XTransformers(Side):
    def __init__(self, model: Module) -> None:
        with warnings.catch_warnings():
            # at its import it scripts a function, which torch 2.13 calls deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            package = importlib.import_module("x_transformers")

        config = model.config
        decoder = package.Decoder(
            dim=config.d_model,
            depth=config.n_layer,
            heads=config.n_head,
            attn_dim_head=config.d_model // config.n_head,
            attn_flash=True,
            ff_mult=config.d_mlp / config.d_model,
            ff_custom_activation=nn.GELU(approximate="tanh"),
        )
        self.module = wrapper = package.TransformerWrapper(
            num_tokens=config.vocab_size,
            max_seq_len=config.max_len,
            attn_layers=decoder,
            tie_embedding=True,
            tie_embedding_scale=1.0,
            input_not_include_cache=True,
        )
        self.embed = wrapper.token_emb.emb
        places = wrapper.pos_emb
        # a norm's gamma is kept less one
        pairs = [
            (self.embed.weight, model.embed.weight),
            (places.emb.weight, model.blocks[0].positions.weight / places.scale),
            (decoder.final_norm.gamma, model.norm.weight - 1),
        ]
        layers = iter(decoder.layers)
        for block in model.blocks:
            (mix_norm, *_), attention, _ = next(layers)
            (mlp_norm, *_), mlp, _ = next(layers)
            query, key, value = block.qkv.weight.chunk(3)
            pairs += [
                (mix_norm.gamma, block.mix_norm.weight - 1),
                (attention.to_q.weight, query),
                (attention.to_k.weight, key),
                (attention.to_v.weight, value),
                (attention.to_out.weight, block.out.weight),
                (mlp_norm.gamma, block.mlp_norm.weight - 1),
            ]
            up, down = (module for module in mlp.modules() if isinstance(module, nn.Linear))
            pairs += affine(up, block.up) + affine(down, block.down)
        copy(pairs)
        self.past: Any = None

    def logits(self, tokens_BT: Tensor) -> Tensor:
        return self.module(tokens_BT)

    def prefill(self, tokens_BT: Tensor, room: int) -> None:
        self.past = None
        self.step(tokens_BT)

    def step(self, token_B1: Tensor) -> Tensor:
        logits, self.past = self.module(token_B1, cache=self.past, return_intermediates=True)
        return logits


PEERS = [
    Peer(
        module=gpt2,
        impl="x-transformers",
        distribution="x-transformers",
        ours=ours,
        theirs=XTransformers,
        lacks=("norm.bias", "qkv.bias", "out.bias"),
    )
]
