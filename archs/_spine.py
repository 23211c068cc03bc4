"""What every architecture shares, so that a difference in a plot is a difference of its Block.

Shape letters, for all of archs/:
    B  batch                      D  d_model        E  inner width of a block
    T  tokens in this call        V  vocab_size     N  state size per channel
    S  tokens held by a cache     H  heads          K  width of one head
    L  layers                     J  key/value heads, fewer than H when queries share them
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from archs._ops.cross_entropy import cross_entropy
from archs._ops.rms_norm import rms_norm

EPS = 1e-5


@dataclass(frozen=True, kw_only=True)
class Config:
    d_model: int
    n_layer: int
    vocab_size: int = 256
    max_len: int | None = None  # rows of a learned position table; None: there is none
    kernel: str = "auto"  # for those ops that have one of this name


class Block(nn.Module):
    """One residual block. This is all an architecture has to write.

    `forward` continues the sequence from `state` and returns the state after its last token;
    training, prefill and decode are that one call with different T. A state that was passed in
    is spent: only the returned one may be used again. None means "start here and keep nothing".
    """

    def __init__(self, config: Any, layer: int) -> None:
        super().__init__()

    @staticmethod
    def final_norm(config: Any) -> nn.Module:
        """What stands between the last block and the head."""
        return RMSNorm(config.d_model, config.kernel)

    def init_state(self, batch: int, max_len: int) -> Any:
        raise NotImplementedError

    def forward(self, x_BTD: Tensor, state: Any | None) -> tuple[Tensor, Any | None]:
        raise NotImplementedError

    def mixer_flops(self, tokens: int, past: int) -> float | None:
        """Forward FLOPs a token beyond two a weight of every nn.Linear and nn.Conv1d, for a call
        of `tokens` that follow `past` earlier ones; None: unknown, never a guess."""
        return None


class RMSNorm(nn.Module):
    def __init__(self, d_model: int, kernel: str = "auto") -> None:
        super().__init__()
        self.weight, self.kernel = nn.Parameter(torch.ones(d_model)), kernel

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, EPS, kernel=self.kernel)


class SwiGLU(nn.Module):
    """Shazeer, GLU Variants Improve Transformer  https://arxiv.org/abs/2002.05202"""

    def __init__(self, d_model: int, d_mlp: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, 2 * d_mlp, bias=False)
        self.down = nn.Linear(d_mlp, d_model, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate, value = self.up(x_BTD).chunk(2, dim=-1)
        return self.down(F.silu(gate) * value)


class MixerMLP(Block):
    """The pre-norm pair most architectures use: mix over time, then a SwiGLU at each token."""

    def __init__(self, config: Any, mixer: nn.Module) -> None:
        nn.Module.__init__(self)
        self.mix_norm = RMSNorm(config.d_model, config.kernel)
        self.mixer = mixer
        self.mlp_norm = RMSNorm(config.d_model, config.kernel)
        self.mlp = SwiGLU(config.d_model, config.d_mlp)

    def init_state(self, batch: int, max_len: int) -> Any:
        return self.mixer.init_state(batch, max_len)

    def forward(self, x_BTD: Tensor, state: Any | None) -> tuple[Tensor, Any | None]:
        y_BTD, state = self.mixer(self.mix_norm(x_BTD), state)
        x_BTD = x_BTD + y_BTD
        return x_BTD + self.mlp(self.mlp_norm(x_BTD)), state

    def mixer_flops(self, tokens: int, past: int) -> float:
        return self.mixer.flops(tokens, past)


class MixerOnly(Block):
    """The pre-norm unit of the Mamba papers: the mixer is wide enough to be its own MLP."""

    def __init__(self, config: Any, mixer: nn.Module) -> None:
        nn.Module.__init__(self)
        self.norm = RMSNorm(config.d_model, config.kernel)
        self.mixer = mixer

    def init_state(self, batch: int, max_len: int) -> Any:
        return self.mixer.init_state(batch, max_len)

    def forward(self, x_BTD: Tensor, state: Any | None) -> tuple[Tensor, Any | None]:
        y_BTD, state = self.mixer(self.norm(x_BTD), state)
        return x_BTD + y_BTD, state

    def mixer_flops(self, tokens: int, past: int) -> float:
        return self.mixer.flops(tokens, past)


class LanguageModel(nn.Module):
    """Embedding, n_layer Blocks, norm, and a head tied to the embedding.

    `forward` stops before the head because prefill needs only the last token's logits.
    """

    def __init__(self, config: Config, block: type[Block]) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        self.blocks = nn.ModuleList(block(config, layer) for layer in range(config.n_layer))
        self.norm = block.final_norm(config)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """torch's U(±1/√fan_in), whose spread at d_model 768 is GPT-2's 0.02; what writes into the
        residual stream (modules named `out` or `down`) is scaled by 1/√(2L), as GPT-2's."""
        nn.init.normal_(self.embed.weight, std=0.02)
        for name, module in self.blocks.named_modules():
            if isinstance(module, nn.Linear) and name.rsplit(".")[-1] in ("out", "down"):
                module.weight.mul_((2 * self.config.n_layer) ** -0.5)

    def init_state(self, batch: int, max_len: int) -> list[Any]:
        return [block.init_state(batch, max_len) for block in self.blocks]

    def forward(
        self, tokens_BT: Tensor, states: Sequence[Any] | None = None
    ) -> tuple[Tensor, list[Any]]:
        """Hidden states (B, T, D) and each layer's state after the last token.

        Raises ValueError if a learned position table is too short for the sequence.
        """
        x_BTD = self.embed(tokens_BT)
        after = []
        for block, state in zip(self.blocks, states or [None] * len(self.blocks), strict=True):
            x_BTD, state = block(x_BTD, state)
            after.append(state)
        return self.norm(x_BTD), after

    def logits(self, x_BTD: Tensor) -> Tensor:
        return F.linear(x_BTD, self.embed.weight)

    def nll(self, tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        """Negative log-likelihood in nats of each target, (B, T), in float32 or wider."""
        x_BTD, _ = self(tokens_BT)
        nll_M = cross_entropy(
            x_BTD.flatten(0, 1),
            self.embed.weight,
            targets_BT.flatten(),
            kernel=self.config.kernel,
        )
        return nll_M.view_as(targets_BT)

    def embedding_params(self) -> int:
        """Parameters that are looked up: tokens (the table is the head too), learned places."""
        tables = [m.weight for m in self.modules() if isinstance(m, nn.Embedding)]
        return sum(table.numel() for table in tables)

    def forward_flops(self, tokens: int, past: int = 0) -> int | None:
        """Analytic forward FLOPs a token, head included, mean over `tokens` that follow `past`."""
        mixers = [block.mixer_flops(tokens, past) for block in self.blocks]
        if None in mixers:
            return None
        weights = [m.weight for m in self.blocks.modules() if isinstance(m, nn.Linear | nn.Conv1d)]
        return round(
            2 * (sum(w.numel() for w in weights) + self.embed.weight.numel()) + sum(mixers)
        )
