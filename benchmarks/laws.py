"""What the harness takes for granted of an architecture, each law once.

Tests hold every file in archs/ to them, `python -m benchmarks check` anyone's. A law asks the model
that its Subject builds, and raises Broken, which says where it does not hold and by how much.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

import archs
from archs import LanguageModel
from archs._sizes import NAMED, non_embedding_params
from benchmarks.modes import Advance, Decoder, GraphDecoder
from benchmarks.recording import positions_on_a_device, recorded

BATCH, LENGTH = 2, 24
CHANGED = 15  # the place of the token that is changed
CUTS = ([LENGTH], [1] * LENGTH, [10, 14], [7, 1, 1, 15])
LONG, LONG_CUT = 201, 130  # past one SSD chunk and several scan blocks; no chunk divides them
LENGTHS = (16, 32, 64, 128, 256)  # at which states are weighed
CONTEXT, ROOM = 20, 6  # tokens read, and tokens then decoded
EXACT = 1e-7  # relative and absolute, in float64
CLOSE = 1e-4  # in float32
BFLOAT16 = 0.02


class Broken(AssertionError):
    """A law that does not hold; the message says where, and the size of the error."""


@dataclass(frozen=True)
class Subject:
    """An architecture at one size, with weights that are the same each time it is built."""

    arch: str
    size: str

    def build(self, max_len: int = LENGTH, **changes: Any) -> LanguageModel:
        torch.manual_seed(0)
        return archs.build(self.arch, self.size, max_len=max_len, **changes)

    @property
    def is_fresh(self) -> bool:
        """Whether its weights are drawn, not a checkpoint's."""
        return archs.load(self.arch).SIZES[self.size].tokenizer is None

    def exact(self, max_len: int = LENGTH, **changes: Any) -> LanguageModel:
        """In float64; a checkpoint in float32, which not all of transformers' code can leave."""
        model = self.build(max_len, **changes)
        return model.double() if self.is_fresh else model

    @property
    def allowed(self) -> float:
        return EXACT if self.is_fresh else CLOSE


Law = Callable[[Subject], None]


def subject(arch: str) -> Subject:
    """At the smallest size that all have, or the first of its own."""
    return Subject(arch, archs.default_size(arch, next(iter(NAMED))))


def agree(seen_BTX: Tensor, expected_BTX: Tensor, allowed: float, what: str) -> None:
    """Raises Broken, with the first position that differs, if one does by more than is allowed."""
    if (seen_BTX.shape, seen_BTX.dtype) != (expected_BTX.shape, expected_BTX.dtype):
        seen, expected = ((tuple(x.shape), x.dtype) for x in (seen_BTX, expected_BTX))
        raise Broken(f"{what} is {seen[0]} of {seen[1]} in place of {expected[0]} of {expected[1]}")
    close_BTX = torch.isclose(seen_BTX, expected_BTX, rtol=allowed, atol=allowed)
    close_T = close_BTX[..., None].flatten(2).all(-1).all(0)
    if not close_T.all():
        first = int((~close_T).nonzero()[0])
        error = float((seen_BTX - expected_BTX).detach()[:, first].abs().max())
        raise Broken(f"{what} is off by {error:.3g} at position {first} ({allowed:g} is allowed)")


def tokens_of(model: LanguageModel, batch: int = BATCH, length: int = LENGTH) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(len(model.embed.weight), (batch, length), generator=generator)


def one_changed(tokens_BT: Tensor, model: LanguageModel) -> Tensor:
    changed_BT = tokens_BT.clone()
    changed_BT[:, CHANGED] = (changed_BT[:, CHANGED] + 1) % len(model.embed.weight)
    return changed_BT


def in_pieces(model: LanguageModel, tokens_BT: Tensor, cuts: Sequence[int]) -> Tensor:
    """The output for pieces of these lengths, each continuing from the state of the one before."""
    states, parts = model.init_state(*tokens_BT.shape), []
    for piece_BT in tokens_BT.split(list(cuts), dim=1):
        x_BTD, states = model(piece_BT, states)
        parts.append(x_BTD)
    return torch.cat(parts, dim=1)


def say(cuts: Sequence[int]) -> str:
    """How the output of those pieces is called."""
    how = "token by token" if set(cuts) == {1} else f"in pieces {list(cuts)}"
    return f"read {how}, the output"


def state_bytes(states: Any) -> int:
    """Charged by storage: a view would keep the whole buffer alive and show here."""
    return sum(leaf.untyped_storage().nbytes() for leaf in tree_leaves(states) if leaf.ndim)


def output_ignores_the_future(subject: Subject) -> None:
    model = subject.exact()
    tokens_BT = tokens_of(model)
    x_BTD, _ = model(tokens_BT)
    y_BTD, _ = model(one_changed(tokens_BT, model))
    before = f"the output before token {CHANGED}, which alone was changed,"
    agree(y_BTD[:, :CHANGED], x_BTD[:, :CHANGED], subject.allowed, before)
    moved_T = (x_BTD[:, CHANGED:] - y_BTD[:, CHANGED:]).abs().amax(dim=(0, 2))
    if moved_T.min() <= 1e-9:
        first = CHANGED + int((moved_T <= 1e-9).nonzero()[0])
        raise Broken(f"token {CHANGED} was changed and the output at position {first} was not")


def state_stands_for_the_past(subject: Subject) -> None:
    model = subject.exact()
    tokens_BT = tokens_of(model)
    whole_BTD, _ = model(tokens_BT)
    for cuts in CUTS:
        agree(in_pieces(model, tokens_BT, cuts), whole_BTD, subject.allowed, say(cuts))


def long_sequences_can_be_cut(subject: Subject) -> None:
    model = subject.exact(max_len=LONG)
    tokens_BT, cuts = tokens_of(model, 1, LONG), [LONG_CUT, LONG - LONG_CUT]
    with torch.no_grad():
        whole_BTD, _ = model(tokens_BT)
        agree(in_pieces(model, tokens_BT, cuts), whole_BTD, subject.allowed, say(cuts))


def convolution_widths(model: LanguageModel) -> list[int]:
    """The widest of each block; 1 where there is none."""
    found = [[m for m in block.modules() if isinstance(m, nn.Conv1d)] for block in model.blocks]
    return [max((conv.kernel_size[0] for conv in convs), default=1) for convs in found]


def laws_hold_with_and_without_a_short_convolution(subject: Subject) -> None:
    for short_conv, allowed in ((True, {3, 4}), (False, {1})):  # Hyena's own is three wide
        called = f"with short_conv={short_conv},"
        model = subject.exact(short_conv=short_conv)
        widths = convolution_widths(model)
        if not set(widths) <= allowed:
            wanted = " or ".join(map(str, allowed))
            raise Broken(f"{called} its blocks' convolutions are {widths} wide, not {wanted}")
        tokens_BT = tokens_of(model)
        whole_BTD, kept = model(tokens_BT)
        _keeps_nothing(kept, len(model.blocks))
        for cuts in ([1] * LENGTH, [7, 1, 1, 15]):
            seen_BTD = in_pieces(model, tokens_BT, cuts)
            agree(seen_BTD, whole_BTD, subject.allowed, f"{called} {say(cuts)}")
        seen_BTD, _ = model(one_changed(tokens_BT, model))
        before = f"{called} the output before token {CHANGED}, which alone was changed,"
        agree(seen_BTD[:, :CHANGED], whole_BTD[:, :CHANGED], subject.allowed, before)
        _reaches_every_parameter(model, tokens_BT)
        with torch.device("meta"):
            if model.moved_bytes(BATCH, 1, LENGTH) is None:
                raise Broken(f"{called} the bytes that a token must move are unknown")


def _keeps_nothing(kept: list[Any], blocks: int) -> None:
    if kept != [None] * blocks:
        layer = next((i for i, state in enumerate(kept) if state is not None), len(kept))
        raise Broken(f"without a state to go on from, block {layer} returned one")


def training_keeps_no_state(subject: Subject) -> None:
    model = subject.exact()
    _keeps_nothing(model(tokens_of(model))[1], len(model.blocks))


def _reaches_every_parameter(model: LanguageModel, tokens_BT: Tensor) -> None:
    model.nll(tokens_BT[:, :-1], tokens_BT[:, 1:]).sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    if without:
        raise Broken(f"no gradient reaches {', '.join(without)}")


def every_parameter_gets_a_gradient(subject: Subject) -> None:
    model = subject.exact()
    _reaches_every_parameter(model, tokens_of(model))


class Slope:
    """The loss of one batch, around the weights at hand."""

    def __init__(self, model: LanguageModel) -> None:
        self.model, tokens_BT = model, tokens_of(model)
        self.inputs_BT, self.targets_BT = tokens_BT[:, :-1], tokens_BT[:, 1:]
        self.weights = dict(model.named_parameters())
        weights = list(self.weights.values())
        grads = torch.autograd.grad(
            self._loss(), weights, allow_unused=True, materialize_grads=True
        )
        self.direction = {n: torch.randn_like(w) * 1e-2 for n, w in self.weights.items()}
        self.along = {
            n: (g * self.direction[n]).sum() for n, g in zip(self.weights, grads, strict=True)
        }

    def _loss(self) -> Tensor:
        return self.model.nll(self.inputs_BT, self.targets_BT).sum()

    @torch.no_grad()
    def error(self, names: Sequence[str]) -> float | None:
        """By how much a central difference along a random direction through the parameters of these
        `names`, all at once, is not what their gradient says; None where it is."""
        step, losses = 1e-5, []
        for sign in (1, -2, 1):
            for name in names:
                self.weights[name].add_(self.direction[name], alpha=sign * step)
            losses.append(self._loss())
        seen, told = (losses[0] - losses[1]) / (2 * step), sum(self.along[n] for n in names)
        within = bool(torch.isclose(seen, torch.as_tensor(told), rtol=1e-6, atol=1e-6))
        return None if within else float((seen - told).abs())


def gradient_is_the_slope_of_the_loss(subject: Subject) -> None:
    slope = Slope(subject.exact())
    error = slope.error(list(slope.weights))
    if error is not None:
        wrong = [name for name in slope.weights if slope.error([name]) is not None]
        raise Broken(
            f"the gradient along a random direction is off by {error:.3g} (1e-06 is allowed): "
            f"that of {', '.join(wrong) or 'several parameters together'} is wrong"
        )


def bfloat16_stays_close_to_float32(subject: Subject) -> None:
    model = subject.build()
    tokens_BT = tokens_of(model)
    with torch.no_grad():
        exact_BT = model.nll(tokens_BT[:, :-1], tokens_BT[:, 1:])
        rounded_BT = model.bfloat16().nll(tokens_BT[:, :-1], tokens_BT[:, 1:])
        states = model.init_state(BATCH, LENGTH) if archs.is_causal(subject.arch) else None
        x_BTD, _ = model(tokens_BT, states)
    if x_BTD.dtype != torch.bfloat16:
        raise Broken(f"a bfloat16 model's output is {x_BTD.dtype}")
    agree(rounded_BT, exact_BT, BFLOAT16, "a bfloat16 model's loss")


def states_bytes(subject: Subject) -> tuple[int, ...]:
    """After each of LENGTHS tokens."""
    model, sizes = subject.build(max_len=max(LENGTHS)), []
    for length in LENGTHS:
        with torch.no_grad():
            _, states = model(torch.zeros(1, length, dtype=torch.long), model.init_state(1, length))
        sizes.append(state_bytes(states))
    return tuple(sizes)


def state_is_constant_or_linear_in_length(subject: Subject) -> None:
    """Or both, as a ring's is: linear up to its window, and constant from there on."""
    sizes = states_bytes(subject)
    rates = [
        (b - a) / (end - start)
        for (a, b), (start, end) in zip(pairwise(sizes), pairwise(LENGTHS), strict=True)
    ]
    if rates != sorted(rates, reverse=True) or not set(rates) <= {rates[0], 0}:
        told = ", ".join(
            f"{size:,} after {length}" for size, length in zip(sizes, LENGTHS, strict=True)
        )
        raise Broken(f"its bytes are {told} tokens, neither constant nor linear up to a length")


def a_full_cache_refuses_more(subject: Subject) -> None:
    model = subject.build(max_len=16)
    one_more = torch.zeros(1, 5, dtype=torch.long)
    states, roomier = model.init_state(1, 4), model.init_state(1, 8)
    if state_bytes(states) == state_bytes(roomier):
        model(one_more, states)  # its state has no length: it takes any number
        return
    try:
        model(one_more, states)
    except ValueError as refusal:
        if "max_len=5" not in str(refusal):
            raise Broken(f"asked for max_len=5, the refusal does not say so: {refusal}") from None
        return
    raise Broken("a state made for 4 tokens took 5 and raised no ValueError")


def decoding(subject: Subject) -> tuple[Advance, Tensor, list[Any]]:
    """After a context: a greedy step, the last token, and the states."""
    model = subject.build(max_len=CONTEXT + ROOM)
    tokens_BT = tokens_of(model, BATCH, CONTEXT)

    def advance(token_B1: Tensor, states: Any) -> tuple[Tensor, Any]:
        x_B1D, states = model(token_B1, states)
        return model.logits(x_B1D).argmax(dim=-1), states

    _, states = model(tokens_BT, model.init_state(BATCH, CONTEXT + ROOM))
    return advance, tokens_BT[:, -1:].clone(), states


def written(decoder: Decoder, tokens: int) -> Tensor:
    seen = []
    for _ in range(tokens):
        decoder.step()
        seen.append(decoder.token_B1.clone())
    return torch.cat(seen, dim=1)


@torch.no_grad()
def decode_can_be_captured(subject: Subject) -> None:
    """A replayed decoder writes what Python writes, and again from the same context, at the same
    addresses."""
    expected_BT = written(Decoder(*decoding(subject)), ROOM)
    advance, token_B1, states = decoding(subject)
    context, first_B1 = tree_map(torch.clone, (states, token_B1))
    decoder = GraphDecoder(advance, token_B1, states, recorded)
    with positions_on_a_device():
        try:
            agree(written(decoder, ROOM), expected_BT, 0.0, "the token that a replayed step writes")
        except RuntimeError as error:
            raise Broken(f"a step cannot be captured: {error}") from error
        addresses = [leaf.data_ptr() for leaf in tree_leaves(decoder.states)]
        decoder.load(context)
        decoder.token_B1.copy_(first_B1)
        agree(written(decoder, ROOM), expected_BT, 0.0, "the token written after going back")
    if addresses != [leaf.data_ptr() for leaf in tree_leaves(decoder.states)]:
        raise Broken("the states moved while they were replayed")


def named_params(size: str, arch: str) -> int:
    module = archs.load(arch)
    return non_embedding_params(module.SIZES[size], module.Block)


def spread_allowed(size: str) -> float:
    """Of non-embedding parameters, from the smallest to the largest model of this size."""
    return 0.03 if NAMED[size].budget < 1e6 else 0.02


def sizes_are_what_they_are_called(subject: Subject) -> None:
    """A size of the architecture's own name is free; one that all share has a budget."""
    for size in NAMED:
        if size in archs.load(subject.arch).SIZES:
            params, budget = named_params(size, subject.arch), NAMED[size].budget
            if abs(params / budget - 1) > spread_allowed(size):
                raise Broken(
                    f"{size} has {params:,} non-embedding parameters, {params / budget - 1:+.1%} "
                    f"off the {budget:,} that are meant; give it another name, or use Matched"
                )


def output_sees_both_ways(subject: Subject) -> None:
    model = subject.build().double()
    tokens_BT = tokens_of(model)
    moved_T = (model(tokens_BT)[0] - model(one_changed(tokens_BT, model))[0]).abs().amax((0, 2))
    if moved_T.min() <= 1e-9:
        first = int((moved_T <= 1e-9).nonzero()[0])
        raise Broken(f"token {CHANGED} was changed and the output at position {first} was not")


# of a checkpoint those that hold for what it is, not for how an architecture is written
OF_CHECKPOINTS: tuple[Law, ...] = (
    output_ignores_the_future,
    state_stands_for_the_past,
    training_keeps_no_state,
    every_parameter_gets_a_gradient,
)
LAWS: tuple[Law, ...] = (
    output_ignores_the_future,
    state_stands_for_the_past,
    long_sequences_can_be_cut,
    training_keeps_no_state,
    every_parameter_gets_a_gradient,
    gradient_is_the_slope_of_the_loss,
    bfloat16_stays_close_to_float32,
    state_is_constant_or_linear_in_length,
    a_full_cache_refuses_more,
    decode_can_be_captured,
    laws_hold_with_and_without_a_short_convolution,
    sizes_are_what_they_are_called,
)
# of an encoder, which reads a text at once
ENCODER_LAWS: tuple[Law, ...] = (
    output_sees_both_ways,
    training_keeps_no_state,
    every_parameter_gets_a_gradient,
    gradient_is_the_slope_of_the_loss,
    bfloat16_stays_close_to_float32,
    sizes_are_what_they_are_called,
)


def of(subject: Subject) -> tuple[Law, ...]:
    """Those that it is held to."""
    if not subject.is_fresh:
        return OF_CHECKPOINTS
    return LAWS if archs.is_causal(subject.arch) else ENCODER_LAWS
