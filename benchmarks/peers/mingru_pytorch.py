"""minGRU of minGRU-pytorch: the log-space scan that Heinsen's method gives, two cumulative sums.

Heinsen, Efficient Parallelization of a Ubiquitous Sequential Computation
https://arxiv.org/abs/2311.06281
"""

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from archs import mingru
from benchmarks.peers._peer import Module, Peer, copy
from benchmarks.peers._stack import Between, mixers_alone


class MinGRU(Between):
    def __init__(self, model: Module) -> None:
        layer_of = importlib.import_module("minGRU_pytorch").minGRU
        config = model.config
        widths = {"dim": config.d_model, "expansion_factor": config.d_inner / config.d_model}
        layers = [layer_of(**widths, proj_out=True) for _ in model.blocks]
        for layer, block in zip(layers, model.blocks, strict=True):
            gate, candidate = block.mixer.gates.weight.chunk(2)
            copy(
                [
                    (layer.to_hidden_and_gate.weight, torch.cat([candidate, gate])),
                    (layer.to_out.weight, block.mixer.out.weight),
                ]
            )
        super().__init__(model, nn.ModuleList(layers))
        self.layers = layers
        self.states: list[Any] = []

    def logits(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.embed(tokens_BT)
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        return self.head(x_BTD)

    def prefill(self, tokens_BT: Tensor, room: int) -> None:
        self.states = [None] * len(self.layers)
        self.step(tokens_BT)

    def step(self, token_B1: Tensor) -> Tensor:
        x_B1D = self.embed(token_B1)
        for i, layer in enumerate(self.layers):
            x_B1D, self.states[i] = layer(x_B1D, self.states[i], return_next_prev_hidden=True)
        return self.head(x_B1D)


PEERS = [
    Peer(
        module=mingru,
        impl="minGRU-pytorch",
        distribution="minGRU-pytorch",
        ours=mixers_alone(mingru),
        theirs=MinGRU,
        lacks=("gates.bias",),
    )
]
