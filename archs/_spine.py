"""What every architecture shares, so that a difference in a plot is a difference of its Block.

Shape letters, for all of archs/:
    B  batch                      D  d_model        E  inner width of a block
    T  tokens in this call        V  vocab_size     N  state size per channel
    S  tokens held by a cache     H  heads          K  width of one head
    L  layers                     J  key/value heads, fewer than H when queries share them
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from archs._ops.cross_entropy import cross_entropy
from archs._ops.rms_norm import rms_norm
from archs._ops.short_conv import short_conv

EPS = 1e-5
SHORT_CONV_WIDTH = 4  # Mamba's


@dataclass(frozen=True, kw_only=True)
class Config:
    d_model: int
    n_layer: int
    vocab_size: int = 256
    max_len: int | None = None  # rows of a learned position table; None: there is none
    kernel: str = "auto"  # for those ops that have one of this name
    # a convolution over the last few tokens ahead of each mixer: with, without, as published
    short_conv: bool | None = None
    # of the text that weights which exist already were trained on; None: they are fresh, for any
    tokenizer: str | None = None

    def model(self, block: type["Block"]) -> "LanguageModel":
        return LanguageModel(self, block)

    def conv_width(self, published: int) -> int:
        """Of a Block's own convolution; taken away, it sees one token, and mixes nothing."""
        return 1 if self.short_conv is False else published


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

    def state_traffic(self, batch: int, tokens: int, past: int) -> int | None:
        """Fewest bytes of state that a call of `tokens` after `past` earlier ones must move.

        What grows with max_len is a cache: `past` rows are read, `tokens` rows written. The rest
        is written whole and, unless fresh, read whole. None: the state does neither. A Block that
        touches less, such as one row of a ring, overrides this. It makes states: use "meta".
        """
        length = past + tokens
        whole, one_more, double = (
            sum(leaf.nbytes for leaf in tree_leaves(self.init_state(batch, max_len)))
            for max_len in (length, length + 1, 2 * length)
        )
        cache = length * (one_more - whole)
        if double - whole != cache:
            return None
        return cache + (whole - cache) * (2 if past else 1)

    def unread_bytes(self) -> int:
        """Of its weights, the most bytes that a call may leave unread: tables that are looked up.
        A Block whose tokens choose among its weights overrides this."""
        return sum(m.weight.nbytes for m in self.modules() if isinstance(m, nn.Embedding))


class RMSNorm(nn.Module):
    def __init__(self, d_model: int, kernel: str = "auto") -> None:
        super().__init__()
        self.weight, self.kernel = nn.Parameter(torch.ones(d_model)), kernel

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, EPS, kernel=self.kernel)


class SwiGLU(nn.Module):
    """Shazeer, GLU Variants Improve Transformer  https://arxiv.org/abs/2002.05202"""

    activation = staticmethod(F.silu)

    def __init__(self, d_model: int, d_mlp: int) -> None:
        super().__init__()
        self.up = nn.Linear(d_model, 2 * d_mlp, bias=False)
        self.down = nn.Linear(d_mlp, d_model, bias=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        gate, value = self.up(x_BTD).chunk(2, dim=-1)
        return self.down(self.activation(gate) * value)


class GeGLU(SwiGLU):
    activation = staticmethod(partial(F.gelu, approximate="tanh"))


class Mixed(Block):
    """A Block whose state is its mixer's."""

    mixer: Any

    def init_state(self, batch: int, max_len: int) -> Any:
        return self.mixer.init_state(batch, max_len)

    def mixer_flops(self, tokens: int, past: int) -> float:
        return self.mixer.flops(tokens, past)

    def state_traffic(self, batch: int, tokens: int, past: int) -> int | None:
        own = getattr(self.mixer, "state_traffic", super().state_traffic)
        return own(batch, tokens, past)


class MixerMLP(Mixed):
    """The pre-norm pair most architectures use: mix over time, then a SwiGLU at each token."""

    gated: type[SwiGLU] = SwiGLU

    def __init__(self, config: Any, mixer: nn.Module) -> None:
        nn.Module.__init__(self)
        self.mix_norm = RMSNorm(config.d_model, config.kernel)
        self.mixer = mixer
        self.mlp_norm = RMSNorm(config.d_model, config.kernel)
        self.mlp = self.gated(config.d_model, config.d_mlp)

    def forward(self, x_BTD: Tensor, state: Any | None) -> tuple[Tensor, Any | None]:
        y_BTD, state = self.mixer(self.mix_norm(x_BTD), state)
        x_BTD = x_BTD + y_BTD
        return x_BTD + self.mlp(self.mlp_norm(x_BTD)), state


class MixerOnly(Mixed):
    """The pre-norm unit of the Mamba papers: the mixer is wide enough to be its own MLP."""

    def __init__(self, config: Any, mixer: nn.Module) -> None:
        nn.Module.__init__(self)
        self.norm = RMSNorm(config.d_model, config.kernel)
        self.mixer = mixer

    def forward(self, x_BTD: Tensor, state: Any | None) -> tuple[Tensor, Any | None]:
        y_BTD, state = self.mixer(self.norm(x_BTD), state)
        return x_BTD + y_BTD, state


class ConvolvedState(NamedTuple):
    tail_BWD: Tensor  # the convolution's last inputs
    inner: Any  # of the Block behind it


class Convolved(Block):
    """A Block behind a convolution in a residual branch of its own, as Canon layers stand.

    Allen-Zhu, Physics of Language Models: Part 4.1  https://arxiv.org/abs/2512.17351
    """

    def __init__(self, config: Any, block: Block) -> None:
        nn.Module.__init__(self)
        D, self.kernel = config.d_model, config.kernel
        self.norm = RMSNorm(D, config.kernel)
        self.conv = nn.Conv1d(D, D, SHORT_CONV_WIDTH, groups=D)
        self.block = block

    def _tail(self, batch: int) -> Tensor:
        D, _, width = self.conv.weight.shape
        return self.conv.weight.new_zeros(batch, width - 1, D)

    def init_state(self, batch: int, max_len: int) -> ConvolvedState:
        return ConvolvedState(self._tail(batch), self.block.init_state(batch, max_len))

    def forward(self, x_BTD: Tensor, state: Any | None) -> tuple[Tensor, Any | None]:
        tail_BWD, inner = (self._tail(len(x_BTD)), None) if state is None else state
        y_BTD, tail_BWD = short_conv(
            self.norm(x_BTD), self.conv.weight, self.conv.bias, tail_BWD, kernel=self.kernel
        )
        x_BTD, inner = self.block(x_BTD + y_BTD, inner)
        return x_BTD, None if state is None else ConvolvedState(tail_BWD, inner)

    def mixer_flops(self, tokens: int, past: int) -> float | None:
        return self.block.mixer_flops(tokens, past)

    def state_traffic(self, batch: int, tokens: int, past: int) -> int | None:
        inner = self.block.state_traffic(batch, tokens, past)
        return None if inner is None else inner + self._tail(batch).nbytes * (2 if past else 1)

    def unread_bytes(self) -> int:
        return self.block.unread_bytes()


def convolved(config: Config, block: Block) -> Block:
    """The Block behind a convolution, if the config asks for one and it has none of its own."""
    has_one = any(isinstance(module, nn.Conv1d) for module in block.modules())
    return Convolved(config, block) if config.short_conv and not has_one else block


class LanguageModel(nn.Module):
    """Embedding, n_layer Blocks, norm, and a head tied to the embedding.

    `forward` stops before the head because prefill needs only the last token's logits.
    """

    def __init__(self, config: Config, block: type[Block]) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.d_model)
        blocks = (block(config, layer) for layer in range(config.n_layer))
        self.blocks = nn.ModuleList(convolved(config, block) for block in blocks)
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

    def forward_flops(self, tokens: int, past: int = 0, scored: int | None = None) -> int | None:
        """Analytic forward FLOPs a token, mean over `tokens` that follow `past`.

        Two a weight of every product with a matrix, and what the mixers add; the head's for
        `scored` of the tokens (None: all). Norms, biases and other elementwise work are left out,
        as in Kaplan et al., table 1  https://arxiv.org/abs/2001.08361. Attention counts the tokens
        it sees, not the masked ones.
        """
        mixers = [block.mixer_flops(tokens, past) for block in self.blocks]
        if None in mixers:
            return None
        weights = [m.weight for m in self.blocks.modules() if isinstance(m, nn.Linear | nn.Conv1d)]
        head = self.embed.weight.numel() * (1 if scored is None else scored / tokens)
        return round(2 * (sum(w.numel() for w in weights) + head) + sum(mixers))

    def moved_bytes(self, batch: int, tokens: int, past: int) -> int | None:
        """Fewest bytes that a call of `tokens` after `past` earlier ones, and its head, must move.

            bytes of the weights + Σ over blocks of state_traffic

        as Pope et al., section 2  https://arxiv.org/abs/2211.05102, count inference. Each weight is
        read once, the tied head among them; the rows looked up in other tables, the weights that no
        token may choose and activations are left out: a floor. None: a Block's share is unknown.
        """
        traffic = [block.state_traffic(batch, tokens, past) for block in self.blocks]
        if None in traffic:
            return None
        unread = sum(block.unread_bytes() for block in self.blocks)
        return sum(w.nbytes for w in self.parameters()) - unread + sum(traffic)
