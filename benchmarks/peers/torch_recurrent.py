"""torch.nn.LSTM and torch.nn.GRU, layers stacked."""

from functools import partial
from typing import Any

from torch import Tensor, nn

from archs import gru, lstm
from benchmarks.peers._peer import Module, Peer, copy
from benchmarks.peers._stack import Between, mixers_alone


class Recurrent(Between):
    def __init__(self, model: Module, kind: type[nn.LSTM] | type[nn.GRU]) -> None:
        width, depth = model.config.d_model, model.config.n_layer
        self.rnn = kind(width, width, num_layers=depth, batch_first=True)
        for weights, block in zip(self.rnn.all_weights, model.blocks, strict=True):
            copy(zip(weights, block.mixer.weights, strict=True))
        super().__init__(model, self.rnn)
        self.state: Any = None

    def logits(self, tokens_BT: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(tokens_BT))[0])

    def prefill(self, tokens_BT: Tensor, room: int) -> None:
        self.state = None
        self.step(tokens_BT)

    def step(self, token_B1: Tensor) -> Tensor:
        x_B1D, self.state = self.rnn(self.embed(token_B1), self.state)
        return self.head(x_B1D)


PEERS = [
    Peer(
        module=module,
        impl="torch.nn",
        distribution="torch",
        ours=mixers_alone(module),
        theirs=partial(Recurrent, kind=kind),
    )
    for module, kind in ((lstm, nn.LSTM), (gru, nn.GRU))
]
