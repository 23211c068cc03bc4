"""What `rnn`, `gru` and `lstm` share: torch's weight layout, initialisation, and sizes."""

from dataclasses import dataclass

import torch
from torch import nn

from archs import _spine
from archs._ops.recurrent import Weights


@dataclass(frozen=True, kw_only=True)
class Config(_spine.Config):
    d_mlp: int


class Cell(nn.Module):
    """Weights of one layer with `gates` gates of width d_model each."""

    def __init__(self, config: Config, gates: int) -> None:
        super().__init__()
        self.kernel, d_model = config.kernel, config.d_model
        self.weight_ih = nn.Parameter(torch.empty(gates * d_model, d_model))
        self.weight_hh = nn.Parameter(torch.empty(gates * d_model, d_model))
        self.bias_ih = nn.Parameter(torch.zeros(gates * d_model))
        self.bias_hh = nn.Parameter(torch.zeros(gates * d_model))
        nn.init.uniform_(self.weight_ih, -(d_model**-0.5), d_model**-0.5)
        for gate in self.weight_hh.chunk(gates):
            # Saxe et al., https://arxiv.org/abs/1312.6120: keeps a fresh state's length
            nn.init.orthogonal_(gate)

    @property
    def weights(self) -> Weights:
        return self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh

    def flops(self, tokens: int, past: int) -> float:
        return 2 * (self.weight_ih.numel() + self.weight_hh.numel())


def shapes(size):
    """d_model and depth are the size's; the MLP takes the parameters the gates leave."""
    yield lambda width: Config(
        d_model=size.d_model, n_layer=size.n_layer, vocab_size=size.vocab_size, d_mlp=width
    )
