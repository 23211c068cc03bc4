"""sLSTM of the xlstm package, in its backend without CUDA.

It asks for mlstm_kernels, whose licence is not open source, and does without for this: so it is in
no extra, and is installed without what it asks for.
"""

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from archs import slstm
from benchmarks.peers._peer import Module, Peer, affine, copy
from benchmarks.peers._stack import Between, mixers_alone


class SLSTM(Between):
    def __init__(self, model: Module) -> None:
        lib = importlib.import_module("xlstm.blocks.slstm.layer")
        config = model.config
        layers = []
        for block in model.blocks:
            ours = block.mixer
            layer = lib.sLSTMLayer(
                lib.sLSTMLayerConfig(
                    embedding_dim=config.d_model,
                    num_heads=config.n_head,
                    conv1d_kernel_size=config.d_conv,
                    backend="vanilla",
                )
            )
            first, second = ours.weight_if.chunk(2, dim=-1)
            third, fourth = ours.weight_zo.chunk(2, dim=-1)
            copy(
                [
                    *affine(layer.conv1d.conv, ours.conv),
                    # its fgate is what it takes for i, and its igate for f
                    (layer.fgate.weight, first.mT),
                    (layer.igate.weight, second.mT),
                    (layer.zgate.weight, third.mT),
                    (layer.ogate.weight, fourth.mT),
                    (layer.slstm_cell._recurrent_kernel_, ours.weight_hh.mT),
                    (layer.slstm_cell._bias_, ours.bias.transpose(0, 1).flatten()),
                    (layer.group_norm.weight, ours.scale_E - 1),
                ]
            )
            layers.append(layer)
        super().__init__(model, nn.ModuleList(layers))
        self.layers = layers
        self.states: list[Any] = []

    def logits(self, tokens_BT: Tensor) -> Tensor:
        x_BTD = self.embed(tokens_BT)
        for layer in self.layers:
            x_BTD = layer(x_BTD)
        return self.head(x_BTD)

    def prefill(self, tokens_BT: Tensor, room: int) -> None:
        x_BTD, self.states = self.embed(tokens_BT), []
        for layer in self.layers:
            width = layer.config.conv1d_kernel_size
            tail = torch.zeros(len(x_BTD), width, x_BTD.shape[2])
            seen = torch.cat([tail, x_BTD], dim=1)[:, -width:].clone()
            x_BTD, state = layer(x_BTD, return_last_state=True)
            self.states.append({"conv_state": (seen,), "slstm_state": state["slstm_state"]})

    def step(self, token_B1: Tensor) -> Tensor:
        x_B1D = self.embed(token_B1)
        for i, layer in enumerate(self.layers):
            x_B1D, self.states[i] = layer.step(x_B1D, **self.states[i])
        return self.head(x_B1D)


PEERS = [
    Peer(
        module=slstm,
        impl="xlstm",
        distribution="xlstm",
        install="--no-deps xlstm",
        ours=mixers_alone(slstm),
        theirs=SLSTM,
    )
]
