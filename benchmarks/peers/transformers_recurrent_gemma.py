"""RecurrentGemma of Hugging Face's transformers, with what it adds to Griffin taken away.

Its biases are zero, its embedding's factor is one, its logits' cap out of reach, and its places
begin at 1: at place 0 it lets a token into the recurrence whole.
"""

from typing import Any

import torch
from torch import Tensor

from archs import LanguageModel, griffin
from archs._sizes import NAMED
from archs._spine import EPS
from benchmarks.peers._peer import Module, Peer, affine
from benchmarks.peers._transformers import Transformers
from benchmarks.pretrained import library

NO_CAP = 1e6
WORDS = {"r": "recurrent", "a": "attention"}


def ours(size: str, max_len: int) -> LanguageModel:
    """RecurrentGemma's recurrence of d_model and a block of gates for each head, at the size's
    depth, which is three at least, and with its MLP of 3 d_model."""
    shape = NAMED[size]
    config = griffin.Config(
        d_model=shape.d_model,
        n_layer=max(3, shape.n_layer),
        n_head=shape.n_head,
        vocab_size=shape.vocab_size,
        d_inner=shape.d_model,
        d_mlp=3 * shape.d_model // 2,
        window=shape.d_model,
        n_block=shape.n_head,
    )
    return LanguageModel(config, griffin.Block)


class RecurrentGemma(Transformers):
    """Its state lies in its modules, and the places its tokens have are told at every call."""

    def call(self, tokens_BT: Tensor, start: int, **cache: Any) -> Tensor:
        places = torch.arange(start, start + tokens_BT.shape[1])[None]
        logits: Tensor = self.module(tokens_BT, position_ids=places, **cache).logits
        return logits

    def logits(self, tokens_BT: Tensor) -> Tensor:
        return self.call(tokens_BT, 1, use_cache=False)

    def prefill(self, tokens_BT: Tensor, room: int) -> None:
        config = self.module.config
        self.module._setup_cache(config, len(tokens_BT), "cpu", self.embed.weight.dtype)
        self.past, self.next = library().DynamicCache(config=config), 1
        self.step(tokens_BT)

    def step(self, token_B1: Tensor) -> Tensor:
        start, self.next = self.next, self.next + token_B1.shape[1]
        return self.call(token_B1, start, use_cache=True, past_key_values=self.past)


def theirs(model: Module) -> RecurrentGemma:
    config, lib = model.config, library()
    peer = lib.RecurrentGemmaForCausalLM(
        lib.RecurrentGemmaConfig(
            pad_token_id=None,
            num_hidden_layers=config.n_layer,
            vocab_size=config.vocab_size,
            hidden_size=config.d_model,
            intermediate_size=2 * config.d_mlp,
            num_attention_heads=config.n_head,
            num_key_value_heads=1,
            lru_width=config.d_inner,
            attention_window_size=config.window,
            conv1d_width=config.d_conv,
            logits_soft_cap=NO_CAP,
            rms_norm_eps=EPS,
            rope_parameters={"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1},
            block_types=[WORDS[letter] for letter in config.pattern],
        )
    )
    body = peer.model
    body.normalizer.fill_(1)
    with torch.no_grad():
        for name, parameter in peer.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
    # its norms multiply by 1 + weight
    pairs = [
        (body.embed_tokens.weight, model.embed.weight),
        (body.final_norm.weight, model.norm.weight - 1),
    ]
    for layer, block in zip(body.layers, model.blocks, strict=True):
        mixer, temporal, mlp = block.mixer, layer.temporal_block, layer.mlp_block
        gate, up = block.mlp.up.weight.chunk(2)
        pairs += [
            (layer.temporal_pre_norm.weight, block.mix_norm.weight - 1),
            (layer.channel_pre_norm.weight, block.mlp_norm.weight - 1),
            (mlp.gate_proj.weight, gate),
            (mlp.up_proj.weight, up),
            (mlp.down_proj.weight, block.mlp.down.weight),
        ]
        pairs += (recurrence if isinstance(mixer, griffin.Recurrence) else attention)(
            temporal, mixer
        )
    return RecurrentGemma(peer, pairs, cache="past_key_values")


def recurrence(temporal: Module, mixer: Module) -> list[tuple[Tensor, Tensor]]:
    x, y = mixer.inputs.weight.chunk(2)
    gates, biases = (v.chunk(2, dim=-1) for v in (mixer.weight_gates, mixer.bias_gates))
    unit = temporal.rg_lru
    return [
        *affine(temporal.conv_1d, mixer.conv),
        (temporal.linear_x.weight, x),
        (temporal.linear_y.weight, y),
        (temporal.linear_out.weight, mixer.out.weight),
        (unit.recurrent_gate_weight, gates[0]),
        (unit.input_gate_weight, gates[1]),
        (unit.recurrent_gate_bias, biases[0][:, 0]),
        (unit.input_gate_bias, biases[1][:, 0]),
        (unit.recurrent_param, mixer.decay_E),
    ]


def attention(temporal: Module, mixer: Module) -> list[tuple[Tensor, Tensor]]:
    queries, keys = temporal.q_proj.out_features, temporal.k_proj.out_features
    q, k, v = mixer.qkv.weight.split((queries, keys, keys))
    return [
        (temporal.q_proj.weight, q),
        (temporal.k_proj.weight, k),
        (temporal.v_proj.weight, v),
        (temporal.o_proj.weight, mixer.out.weight),
    ]


PEERS = [
    Peer(
        module=griffin,
        impl="transformers",
        distribution="transformers",
        ours=ours,
        theirs=theirs,
    )
]
