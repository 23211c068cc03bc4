"""The one language that benchmarks/ writes and report/ reads.

A Case is a question; a Record is what was observed when it was asked. Rates, ratios and
utilisations are not here: they are arithmetic, and arithmetic belongs to report/, so that a
better formula re-reads old data. Units are SI and stand in the name: _s seconds, _bytes bytes,
_nats natural-log units of loss.
"""

import json
import os
import tempfile
import typing
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec

from results import names
from results.alignment import BestOf, Collected, Lesson, Optimised, Scorer
from results.data import Data

ROOT = Path(__file__).parent
SCHEMA = 1
# so that names made of a Record's, such as that of a training's checkpoint, are no longer than
# a file's name may be
LONGEST_STEM_BYTES = names.LONGEST_BYTES - 20

Timed = Literal["train", "prefill", "decode"]
OfText = Literal["quality", "compress", "scaling", "infill"]
OF_TEXT: tuple[OfText, ...] = typing.get_args(OfText)
Learned = Literal[OfText, "recall", "state", "markov", "align"]
LEARNED: tuple[Learned, ...] = typing.get_args(Learned)
Phase = Literal[Timed, Learned, "limits", "peer-train", "peer-decode"]
Mode = Literal["eager", "compile", "graph"]
Shard = Literal["ddp", "fsdp", "context"]
# the text, the training text, or the one behind the other
Coded = Literal["text", "training", "both"]
Status = Literal["ok", "oom", "timeout", "diverged", "error"]


class Ceiling(TypedDict):
    """How fast this machine does one thing, in a microbenchmark."""

    work: int | float  # of a sample, in FLOPs or bytes
    samples_s: list[float]


class Case(Data, frozen=True, kw_only=True):
    """A frozen question. `str(case)` is its test id and its file name."""

    phase: Phase
    arch: str
    size: str
    seq_len: int  # tokens read at once; in decode, the context already read
    batch: int
    dtype: str = "float32"
    seed: int = 0
    tokens: int | None = None  # where a model is trained: its training tokens, the whole budget
    flops: int | None = None  # of text: the training FLOPs that made `tokens`; None: tokens did
    lr: float | None = None  # where a model is trained: peak learning rate
    corpus: str | None = None  # of text: the text's name
    # of text: training reads its first so many bytes only, again and again; None: all of it
    unique_bytes: int | None = None
    tokenizer: str = "bytes"  # of text: bytes or bpe:N, N tokens
    task: str | None = None  # recall, state, markov: a file of benchmarks/tasks/
    load: int | None = None  # recall, state, markov: how much is to be kept in mind, in its units
    instructions: str | None = None  # align: rules, dialogues, or the name of the user's chats
    pairs: int | None = None  # align: preferences collected; None: those given, if any
    # a convolution over the last few tokens ahead of each mixer: with, without, as published
    short_conv: bool | None = None
    # infill: the share of each window's tokens that training masks and asks for; None: it asks for
    # each token from those before it, and an encoder's trunk is built to read one way
    masked: float | None = None
    grows: Literal["batch", "seq_len"] | None = None  # limits: what is enlarged, from its value on
    steps_of: Timed | None = None  # limits: of which phase the steps are
    memory_bytes: int | None = None  # limits: what a step must fit into; None: what there is
    mode: Mode = "eager"  # how a step is executed
    kernel: str = "auto"  # of the architecture's ops, those that have one of this name
    impl: str = "seqfrontier"  # peer-*: whose code ran
    ranks: int = 1  # processes that train together, a GPU or core each; `batch` is all of theirs
    # ranks > 1: what each has a part of: the batch, the batch and the weights, or every sequence
    shard: Shard | None = None

    def __str__(self) -> str:
        arch = self.arch.replace(":", "-")
        parts = [self.phase, arch, self.size, f"T{self.seq_len}", f"B{self.batch}", self.dtype]
        parts += [self.mode] * (self.mode != "eager")
        parts += [self.kernel] * (self.kernel != "auto")
        parts += [f"{self.shard}{self.ranks}"] * (self.ranks > 1)
        parts += [self.impl] * self.phase.startswith("peer")
        parts += {None: [], True: ["conv"], False: ["noconv"]}[self.short_conv]
        parts += [] if self.masked is None else [f"m{self.masked:g}"]
        if self.task is not None:
            parts += [self.task, f"load{self.load}"]
        if self.instructions is not None:
            parts += [self.instructions] + [f"p{self.pairs}"] * (self.pairs is not None)
        if self.tokens is not None:
            parts += [f"n{self.tokens}"] if self.flops is None else [f"f{self.flops:.3g}"]
            parts += [f"lr{self.lr:g}"]
        parts += [f"{self.corpus}"] * (self.corpus is not None)
        parts += [f"of{self.unique_bytes}"] * (self.unique_bytes is not None)
        parts += [self.tokenizer.replace(":", "")] * (self.tokenizer != "bytes")
        if self.phase == "limits":
            parts += [f"{self.grows}", f"{self.steps_of}"]
            parts += [f"{self.memory_bytes / 2**30:g}GiB"] if self.memory_bytes else []
        return "-".join([*parts, f"s{self.seed}"])


class Evaluation(Data, frozen=True, kw_only=True):
    """Held-out loss in windows of `context` tokens, summed apart by position in the window.

    Bin i holds the targets predicted from `position_edges[i]` up to, not including,
    `position_edges[i + 1]` tokens; the last bin ends with the window. Of a masked objective all
    targets are in one bin: predicted from those tokens of the window that are not masked.
    """

    split: Literal["valid", "test"]
    context: int
    position_edges: tuple[int, ...]
    nats: tuple[float, ...]  # sum of negative log-likelihood in each bin
    tokens: tuple[int, ...]  # targets in each bin
    target_bytes: int  # bytes of text that those targets spell
    # from one window to the next where they overlap: scored are only the targets that have at least
    # context - stride tokens before them; None: windows are disjoint and all targets are scored
    stride: int | None = None
    domain: str | None = None  # the kind of text; None: all there is


class Tally(Data, frozen=True, kw_only=True):
    """A task's answers on one held-out set, apart by distance or by position.

    Bin i holds the answers whose distance (from where the answer was last to be read) or position
    (tokens read) is `edges[i]` up to, not including, `edges[i + 1]`; the last bin has no end.
    """

    split: Literal["valid", "test"]
    seq_len: int
    binned_by: Literal["distance", "position"]
    edges: tuple[int, ...]
    answers: tuple[int, ...]  # asked for in each bin
    right: tuple[int, ...]  # of them, where the likeliest token was the answer
    nats: tuple[float, ...]  # sum of the answers' negative log-likelihood
    # the same sum for the exact Bayes predictor, which knows all but the sequence's own chain
    bayes_nats: tuple[float, ...] = ()


class Progress(Data, frozen=True, kw_only=True):
    """What a fixed validation set came to after so many optimizer steps: of a task the answers that
    were right, of text the loss."""

    step: int
    answers: int
    right: int | None = None
    nats: float | None = None  # sum of their negative log-likelihood


class Remembrance(Data, frozen=True, kw_only=True):
    """What a past cut to its last `kept[i]` tokens does to the prediction of the next token.

    Sums over `windows` held-out windows; the last `kept` is the whole past.
    """

    kept: tuple[int, ...]
    windows: int
    distance: tuple[float, ...]  # total variation, 0 to 1, to the prediction from the whole past
    nats: tuple[float, ...]  # the next token's negative log-likelihood
    bayes_distance: tuple[float, ...] = ()  # of the exact Bayes predictor, where there is one


class Coding(Data, frozen=True, kw_only=True):
    """Held-out text coded by the model's predictions, and decoded again bit for bit."""

    lanes: int  # texts side by side, a step of the model codes a byte of each
    text_bytes: int  # of all lanes
    coded_bytes: int
    ideal_nats: float  # the text's negative log-likelihood, what a perfect coder would take
    encode_s: float
    decode_s: float


class Codec(Data, frozen=True, kw_only=True):
    """A general-purpose compressor's go at the text, or at the training text without or with it."""

    name: str
    setting: str
    version: str
    coded: Coded
    whole_bytes: int
    coded_bytes: int
    encode_s: tuple[float, ...]  # each round
    decode_s: tuple[float, ...]


class Gaps(Data, frozen=True, kw_only=True):
    """Gaps in windows of held-out text, filled from left to right with the likeliest token."""

    length: int  # tokens of each gap
    gaps: int
    tokens_right: int
    gaps_right: int  # of them, those with every token right


class LinearProbe(Data, frozen=True, kw_only=True):
    """What the mean of the frozen trunk's last states over a block of text says, by logistic
    regression, about which of equal sections of the training text the block is from."""

    trained: bool  # False: of the trunk before its first step
    sections: int
    fitted: int  # blocks the regression was fitted to
    l2: float  # the penalty, chosen on blocks apart from both
    asked: int  # blocks it was then asked about
    right: int


class Reading(Data, frozen=True, kw_only=True):
    """What a GPU's sensors said at one moment. A None could not be read."""

    energy_j: float | None = None  # used since the driver was loaded
    sm_hz: int | None = None
    memory_hz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    throttle: tuple[str, ...] | None = None  # what held the clocks down


class Probe(Data, frozen=True, kw_only=True):
    """Whether a step of one size fitted in memory."""

    size: int  # of what Case.grows names
    fitted: bool
    peak_bytes: int | None  # None: memory ran out before there was one


class Visit(Data, frozen=True, kw_only=True):
    """Timed steps that do not count: in another visit to the same cell the machine was calmer."""

    step_s: tuple[float, ...]
    sentinel_s: tuple[float, ...]


class Record(Data, frozen=True, kw_only=True):
    """What was observed, raw. A None is a quantity that was not, or could not be, observed.

    Of several ranks: counts of the model and losses are of all together; each timed step and
    sentinel is the slowest rank's, bytes in memory those of the rank that needs most; seconds of
    training are the first rank's; there are no sensors, as a card's energy is not the step's.
    """

    case: Case
    label: str
    status: Status
    reason: str | None = None  # why the status is not ok, in one sentence
    measured_at: str  # UTC, ISO 8601
    commit: str | None  # None: not run from a git checkout
    versions: dict[str, str]
    machine: dict[str, Any]
    backend: str | None = None  # ranks > 1: what they speak through, gloo or nccl
    ceilings: dict[str, Ceiling] = msgspec.field(default_factory=dict)  # "matmul-float32", "copy"
    took_s: float | None = None  # the whole cell, with all that is not timed
    params: int | None = None
    embedding_params: int | None = None
    param_bytes: int | None = None
    forward_flops: int | None = None  # analytic, a token, mean over seq_len; None: unknown
    # analytic, the fewest that one step must move to and from memory: weights, states, moments, but
    # no activations; None: unknown
    moved_bytes: int | None = None
    state_bytes: int | None = None  # of the live state tensors after reading seq_len tokens
    peak_bytes: int | None = None
    peak_method: str | None = None
    reserved_bytes: int | None = None  # the most that CUDA's allocator kept from others meanwhile
    probes: tuple[Probe, ...] = ()  # limits: in the order tried
    kernels: dict[str, str] = msgspec.field(default_factory=dict)  # op to the kernel of it that ran
    first_step_s: float | None = None  # with what is built once: compiling, capturing, tuning
    step_s: tuple[float, ...] = ()  # every timed step in order, never trimmed
    step_clock: Literal["wall", "process cpu", "cuda events"] = "wall"
    # a fixed piece of work, as often right before the timed steps as right after
    sentinel_s: tuple[float, ...] = ()
    set_aside: tuple[Visit, ...] = ()  # earlier or later visits in which the sentinel took longer
    sensors: tuple[Reading, ...] = ()  # a GPU's: before the timed steps, halfway, and after
    # peer-*: self seconds of each torch op in one step under the profiler, whose own time is in it
    op_s: dict[str, float] = msgspec.field(default_factory=dict)
    corpus_sha256: str | None = None
    train_nats: tuple[float, ...] = ()  # mean loss of each optimizer step; peer-*: the one loss
    train_s: float | None = None
    train_step_s: float | None = None  # of it, inside the model's step
    tokenizer_sha256: str | None = None  # of the JSON that defines it; None: bytes
    evaluations: tuple[Evaluation, ...] = ()
    sliding: Evaluation | None = None  # quality: test at the trained length, windows overlapping
    # quality, a text of several domains: each one's valid and test, sliding among them; added up
    # they are the evaluations above, so that there all domains count alike
    by_domain: tuple[Evaluation, ...] = ()
    progress: tuple[Progress, ...] = ()  # tasks, and text read again and again: while training
    tallies: tuple[Tally, ...] = ()  # tasks: once trained
    remembrance: Remembrance | None = None  # quality, markov: once trained, on test
    gaps: tuple[Gaps, ...] = ()  # infill: once trained
    # infill, masked: each token of a window masked in turn, a pseudo-log-likelihood and no code
    # length
    pseudo: Evaluation | None = None
    linear_probes: tuple[LinearProbe, ...] = ()  # infill: before training and after
    training_bytes: int | None = None  # compress: the text that training windows are drawn from
    coding: Coding | None = None  # compress: once trained, of test text
    codecs: tuple[Codec, ...] = ()  # compress: others on the same text
    lessons: tuple[Lesson, ...] = ()  # align: up to the fine-tuned policy
    collected: Collected | None = None  # align: preferences
    scorers: tuple[Scorer, ...] = ()  # align: reward models
    best_of: tuple[BestOf, ...] = ()  # align: for each of them and each n
    optimised: tuple[Optimised, ...] = ()  # align
    schema: int = SCHEMA

    def path(self, root: Path = ROOT) -> Path:
        return record_path(self.case, self.label, root)

    def save(self, root: Path = ROOT) -> Path:
        """Write the Record whole or not at all, so that a kill leaves no half file.

        Raises OSError if the folder cannot be written or the disk is full, ValueError on a NaN.
        """
        text = (
            json.dumps(msgspec.to_builtins(self, enc_hook=_plain), indent=1, allow_nan=False) + "\n"
        )
        path = self.path(root)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")
        try:
            with os.fdopen(handle, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(unfinished, 0o644)
            os.replace(unfinished, path)
        except BaseException:
            os.unlink(unfinished)
            raise
        return path


def _plain(value: Any) -> Any:
    """A subclass of what JSON knows, as torch's version and numpy's floats are, as what it is."""
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    raise TypeError(f"a Record holds no {type(value).__name__}")


def record_path(case: Case, label: str, root: Path = ROOT) -> Path:
    """Raises ValueError where `label` or the case names no file right there."""
    return root / names.part(label) / names.part(f"{case}.json", LONGEST_STEM_BYTES)
