"""Mamba of mamba.py, whose scan in plain torch works by doubling, forward and backward."""

import importlib
from typing import Any

from torch import Tensor, nn

from archs import mamba
from archs._spine import EPS
from benchmarks.peers import _mamba
from benchmarks.peers._peer import Module, Peer, copy
from benchmarks.peers._stack import Between


class MambaPy(Between):
    def __init__(self, model: Module) -> None:
        mambapy = importlib.import_module("mambapy.mamba")
        config = model.config
        shape = mambapy.MambaConfig(
            d_model=config.d_model,
            n_layers=config.n_layer,
            dt_rank=config.dt_rank,
            d_state=config.d_state,
            expand_factor=config.d_inner // config.d_model,
            d_conv=config.d_conv,
            rms_norm_eps=EPS,
        )
        self.body = mambapy.Mamba(shape)
        self.norm = mambapy.RMSNorm(config.d_model, EPS)
        # mambapy's own language model cannot be imported without the CUDA package mamba_ssm
        super().__init__(model, nn.ModuleList([self.body, self.norm]))
        pairs = [(self.norm.weight, model.norm.weight)]
        for layer, block in zip(self.body.layers, model.blocks, strict=True):
            pairs += _mamba.pairs(layer, block)
        copy(pairs)
        self.tail = (config.d_inner, config.d_conv - 1)
        self.caches: list[Any] = []

    def logits(self, tokens_BT: Tensor) -> Tensor:
        return self.head(self.norm(self.body(self.embed(tokens_BT))))

    def prefill(self, tokens_BT: Tensor, room: int) -> None:
        """Token by token: mambapy has no other way to fill a cache."""
        zeros = self.embed.weight.new_zeros
        self.caches = [(None, zeros(len(tokens_BT), *self.tail)) for _ in self.body.layers]
        for token_B1 in tokens_BT.split(1, dim=1):
            self.step(token_B1)

    def step(self, token_B1: Tensor) -> Tensor:
        x_BD, self.caches = self.body.step(self.embed(token_B1[:, 0]), self.caches)
        return self.head(self.norm(x_BD))[:, None]


PEERS = [
    Peer(module=mamba, impl="mambapy", distribution="mambapy", ours=_mamba.ours, theirs=MambaPy)
]
