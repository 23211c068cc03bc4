"""Which questions are asked: the defaults of each kind of device, and how options narrow them."""

import random
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from math import inf
from pathlib import Path
from typing import Any

import archs
from archs._ops import every_op
from benchmarks import as_it_is, conformance, masking, modes, outside, tasks, tiers
from benchmarks.align import asked as align
from benchmarks.data import hub, vocabulary
from benchmarks.data.vocabulary import BYTES
from benchmarks.quality import default_lr
from benchmarks.ranks import asked as ranks
from results import Case
from results.names import argument, label
from results.schema import LEARNED, OF_TEXT, Mode, Phase, Shard, Timed

PHASES: tuple[Phase, ...] = ("train", "prefill", "decode", "quality")
ON_REQUEST: tuple[Phase, ...] = (
    "compress",
    "scaling",
    "infill",
    "align",
    "recall",
    "state",
    "markov",
    "limits",
)  # by name or --tier
OF_ENCODERS: tuple[Phase, ...] = ("train", "infill")  # what is asked of what is not causal
TIMED: tuple[Timed, ...] = ("train", "prefill", "decode")
DTYPES = ("float32", "bfloat16")
ORDER_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Defaults:
    size: str
    dtype: str
    modes: tuple[Mode, ...]
    seq_lens: tuple[int, ...]
    step_tokens: int  # batch x seq_len of train and prefill, the same at every length
    quality_seq_len: int
    quality_batch: int
    quality_tokens: int


DEFAULTS = {
    "cpu": Defaults(
        size="100k",
        dtype="float32",
        modes=("eager",),
        seq_lens=(64, 256, 1024, 4096),
        step_tokens=4096,
        quality_seq_len=256,
        quality_batch=4,
        quality_tokens=3 * 2**18,
    ),
    "cuda": Defaults(
        size="25m",
        dtype="bfloat16",
        modes=("eager", "graph"),
        seq_lens=tuple(2**i for i in range(7, 15)),  # docs/gpu.md adds up what they take
        step_tokens=65_536,
        quality_seq_len=2048,
        quality_batch=16,
        quality_tokens=2**25,
    ),
}


def _list(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    def parse(text: str) -> list[Any]:
        return [kind(item) for item in text.split(",") if item]

    parse.__name__ = f"comma-separated {kind.__name__}"  # argparse puts it into its message
    return parse


# flag, and the keywords both argparse and pytest take
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    (
        "--arch",
        {
            "type": outside.option,
            "help": "architectures, comma-separated: names, files, what other packages install "
            "(default: one or two of each family; all: archs/ but encoders)",
        },
    ),
    (
        "--size",
        {"type": _list(str), "help": "size presets; see `python -m benchmarks list --sizes`"},
    ),
    (
        "--phase",
        {
            "type": _list(str),
            "help": f"of {', '.join(PHASES)} (default: these), {', '.join(ON_REQUEST)}",
        },
    ),
    ("--seq-len", {"type": _list(int), "help": "sequence lengths"}),
    ("--batch", {"type": int, "help": "sequences at once (default: constant tokens a step)"}),
    ("--dtype", {"choices": DTYPES, "help": "float32 or bfloat16"}),
    (
        "--mode",
        {
            "type": _list(str),
            "help": "of eager, compile, graph: for each phase those it has (default: eager; "
            "on CUDA also graph)",
        },
    ),
    (
        "--kernel",
        {"default": "auto", "help": "of each op that has it; see `python -m benchmarks doctor`"},
    ),
    ("--seed", {"type": _list(int), "help": "seeds (default: 0)"}),
    ("--tokens", {"type": int, "help": "text and tasks: training tokens"}),
    (
        "--flops",
        {"type": float, "help": "text: training FLOPs, the same for all, in place of tokens"},
    ),
    ("--lr", {"type": _list(float), "help": "text and tasks: peak learning rates, a run each"}),
    ("--tier", {"help": "text and tasks: how much of them, of cpu, gpu, paper"}),
    ("--task", {"type": _list(str), "help": f"of {', '.join(tasks.names())} (default: all)"}),
    ("--load", {"type": _list(int), "help": "tasks: how much is to be kept in mind"}),
    (
        "--short-conv",
        {"type": _list(str), "help": "on, off: a convolution ahead of each mixer, or none at all"},
    ),
    (
        "--masked",
        {
            "type": _list(float),
            "help": "infill: shares of the tokens that an encoder is trained to fill in",
        },
    ),
    (
        "--corpus",
        {
            "type": _list(str),
            "default": ["sotu"],
            "help": "text: sotu, english, korean, code, hf:NAME[:CONFIG], "
            "stream:PATH or stream:NAME[:CONFIG], or files",
        },
    ),
    (
        "--sft",
        {
            "type": _list(str),
            "default": [],
            "help": "align: dialogues, or JSONL files of chats (default: rules, which are drawn)",
        },
    ),
    (
        "--preferences",
        {"type": _list(str), "default": [], "help": "align: JSONL files, beside those of --sft"},
    ),
    ("--tokenizer", {"default": "bytes", "help": f"text: {vocabulary.FORM} (default: bytes)"}),
    (
        "--memory-gib",
        {"type": float, "help": "limits: GiB to fit into (default: the GPU's; a CPU needs one)"},
    ),
    (
        "--ranks",
        {"type": int, "help": "train, quality: processes, a GPU or core each"},
    ),
    (
        "--shard",
        {
            "choices": typing.get_args(Shard),
            "help": "of ranks: ddp splits the batch, fsdp the weights too, context every sequence",
        },
    ),
    ("--device", {"choices": ("cpu", "cuda"), "help": "default: cuda where there is one"}),
    (
        "--label",
        {"type": argument(label), "help": "folder under results/ (default: the device's name)"},
    ),
]


def _positive(flag: str, values: Iterable[float | None]) -> None:
    for value in values:
        if isinstance(value, list):  # what Python 3.11 makes of --flag=--
            raise ValueError(f"{flag}: -- is no value")
        if value is not None and not value > 0:
            raise ValueError(f"{flag} must be above 0, not {value}")
        if value == inf:
            raise ValueError(f"{flag} must be finite, not {value}")


def _known(flag: str, values: Iterable[str], have: Iterable[str]) -> None:
    for value in values:
        if value not in have:
            raise ValueError(f"{flag}: there is no {value!r}; there are {', '.join(have)}")


def kernel_names() -> list[str]:
    return sorted({name for op in every_op().values() for name in op.kernels})


def check(options: Any) -> None:
    """Raises ValueError on an unknown name or an impossible number."""
    _known("--phase", options.phase or (), (*PHASES, *ON_REQUEST))
    families = [arch.partition(":")[0] for arch in options.arch or ()]
    _known("--arch", families, [*archs.names(), *outside.installed(), *archs.added()])
    for arch in options.arch or ():
        if not archs.is_causal(arch) and not {*asked_phases(options)} & {*OF_ENCODERS}:
            raise ValueError(
                f"--arch {arch}: an encoder, which is not causal, has no "
                f"{' or '.join(asked_phases(options))}; it has {', '.join(OF_ENCODERS)}"
            )
    for arch in options.arch or archs.usual():
        _known(f"--size of {arch}", options.size or (), archs.load(arch).SIZES)
    _known("--mode", options.mode or (), typing.get_args(Mode))
    for mode in options.mode or ():
        phases = options.phase or PHASES
        if not any(mode in modes.MODES[phase] for phase in phases):
            raise ValueError(f"--mode {mode}: no step of {', '.join(phases)} can be run like that")
    _known("--kernel", [options.kernel], ["auto", *kernel_names()])
    _known("--tier", [options.tier] if options.tier else [], tiers.names())
    _known("--task", options.task or (), tasks.names())
    _known("--short-conv", options.short_conv or (), tiers.SHORT_CONV)
    _positive("--load", options.load or ())
    _positive("--flops", [options.flops])
    vocabulary.size(options.tokenizer)
    if "compress" in asked_phases(options) and options.tokenizer != BYTES.name:
        raise ValueError(f"--phase compress codes bytes, not {options.tokenizer}; use {BYTES.name}")
    align.check(options, asked_phases(options))
    _positive("--seq-len", options.seq_len or ())
    _positive("--batch", [options.batch])
    _positive("--tokens", [options.tokens])
    _positive("--lr", options.lr or ())
    _positive("--memory-gib", [options.memory_gib])
    for phase in ("compress", "infill"):
        if phase in asked_phases(options) and options.corpus[0].startswith(hub.STREAM):
            raise ValueError(f"--phase {phase} needs a text that is read whole, not {hub.STREAM}")
    _check_masked(options)
    ranks.check(options, asked_phases(options))
    for arch in filter(outside.is_checkpoint, options.arch or ()):
        for config in archs.load(arch).SIZES.values():
            as_it_is.check(arch, config, asked_phases(options), options)
    if others := [arch for arch in options.arch or () if outside.is_code(arch)]:
        conformance.hold(others, Path(options.results))


def _check_masked(options: Any) -> None:
    if not options.masked:
        return
    if "infill" not in asked_phases(options):
        raise ValueError("--masked is of --phase infill, and of nothing else")
    for share in options.masked:
        if not 0 < share < 1:
            raise ValueError(f"--masked {share:g} must be a share between 0 and 1, such as 0.15")
        for arch in options.arch or ():
            masking.refuse_unless_it_can_mask(arch, share)


def cases(options: Any, device: str, corpus_name: str, elsewhere: bool = False) -> list[Case]:
    """The Cases that `options`, a namespace of OPTIONS, asks for, in the order to run them.

    The length that quality is trained at comes first, and on a GPU quality next, so that a frontier
    stands early; then the other lengths, short ones first, so that an out-of-memory is met once.
    On a CPU training comes last, as other cores are at it. Within a length the order is shuffled,
    so that drift does not line up with names. `elsewhere`: other machines provide the ranks.

    Raises ValueError on an unknown name or an impossible number.
    """
    check(options)
    default, phases = DEFAULTS[device], asked_phases(options)
    for mode in options.mode or ():
        if reason := modes.why_not(mode, device):
            raise ValueError(f"--mode {mode} cannot be used here: {reason}")
    if options.ranks and (reason := ranks.why_not(options, device, elsewhere)):
        raise ValueError(f"--ranks {options.ranks} --shard {options.shard}: {reason}")
    dtype, learned = options.dtype or default.dtype, [p for p in phases if _in_tier(p, options)]
    asked = tiers.cases(options, {"cpu": "cpu", "cuda": "gpu"}[device], learned, dtype, corpus_name)
    names = [
        (arch, size)
        for arch in options.arch or archs.usual()
        for size in options.size or [archs.default_size(arch, default.size)]
    ]
    convs = tiers.short_convs(options.short_conv or ())
    for seed, conv in product(options.seed or [0], convs):
        for arch, size in names:
            for phase in phases:
                shared = {"phase": phase, "arch": arch, "size": size, "seed": seed}
                shared |= {"dtype": dtype, "kernel": options.kernel, "short_conv": conv}
                if _in_tier(phase, options):
                    continue
                if phase == "quality":
                    asked += _quality_cases(options, default, corpus_name, shared)
                elif phase == "limits":
                    asked += _limits_cases(options, default, device, shared)
                else:
                    asked += _timed_cases(options, default, phase, shared)
    causal = {arch for arch in {case.arch for case in asked} if archs.is_causal(arch)}
    asked = [c for c in asked if c.phase in OF_ENCODERS or c.arch in causal]
    asked = [case for case in asked if as_it_is.can_be(case)]
    if options.ranks:
        asked = [ranks.spread(case, options) for case in asked]
    asked = list(dict.fromkeys(asked))  # asks that differ in what options set are one
    random.Random(ORDER_SEED).shuffle(asked)

    def place(case: Case) -> tuple[int, int]:
        if case.phase in LEARNED:
            return (1 if device == "cuda" and case.phase == "quality" else 3), case.seq_len
        return (0 if case.seq_len == default.quality_seq_len else 2), case.seq_len

    return sorted(asked, key=place)


def asked_phases(options: Any) -> list[Phase]:
    """Those asked for; else those of the tasks, or of the tier, asked for; else the default, of
    which several ranks do some."""
    if options.task and not options.phase:
        return sorted({tasks.load(task).phase for task in options.task})
    if options.tier and not options.phase:
        return sorted({ask.phase for ask in tiers.load(options.tier) if not ask.by_name})
    return options.phase or list(ranks.PHASES if options.ranks else PHASES)


def reads_text(options: Any) -> bool:
    """Whether a corpus is read."""
    phases = asked_phases(options)
    return any(phase in OF_TEXT for phase in phases) or ("align" in phases and bool(options.sft))


def _in_tier(phase: Phase, options: Any) -> bool:
    """Quality is set by a tier only if one was named, all else that is learned always."""
    return phase in LEARNED and (options.tier is not None or phase != "quality")


def _timed_cases(
    options: Any, default: Defaults, phase: Phase, shared: dict[str, Any]
) -> list[Case]:
    constant = (lambda T: 1) if phase == "decode" else (lambda T: max(1, default.step_tokens // T))
    return [
        Case(seq_len=T, batch=options.batch or constant(T), mode=mode, **shared)
        for T in options.seq_len or default.seq_lens
        for mode in modes.MODES[phase]
        if mode in (options.mode or default.modes)
    ]


def _quality_cases(
    options: Any, default: Defaults, corpus: str, shared: dict[str, Any]
) -> list[Case]:
    """`--seq-len` and `--batch` are the timed phases' unless quality is all that is asked."""
    alone = options.phase == ["quality"]
    seq_lens = options.seq_len if alone and options.seq_len else [default.quality_seq_len]
    own = as_it_is.tokenizer(shared["arch"], shared["size"])
    fresh = own is None
    lrs = options.lr or [default_lr(shared["arch"], shared["size"])]
    return [
        tiers.budgeted(
            Case(
                seq_len=T,
                batch=options.batch if alone and options.batch else default.quality_batch,
                tokens=default.quality_tokens if fresh else None,
                lr=lr,
                corpus=corpus,
                tokenizer=own or options.tokenizer,
                **shared,
            ),
            options,
        )
        for T in seq_lens
        for lr in (lrs if fresh else [None])
    ]


def _limits_cases(
    options: Any, default: Defaults, device: str, shared: dict[str, Any]
) -> list[Case]:
    """The largest batch at each length, and the greatest length at batch 1, of every timed phase.

    Raises ValueError on a CPU without a budget, where memory that runs out ends the process.
    """
    if device == "cpu" and options.memory_gib is None:
        raise ValueError("--phase limits needs --memory-gib GIB on a CPU, such as 0.5")
    budget = None if options.memory_gib is None else round(options.memory_gib * 2**30)
    lengths = options.seq_len or [default.quality_seq_len]
    asked: list[Case] = []
    for phase in TIMED:
        given = {"batch": 1, "steps_of": phase, "memory_bytes": budget, **shared}
        asked += [Case(seq_len=T, grows="batch", **given) for T in lengths]
        asked += [Case(seq_len=default.seq_lens[0], grows="seq_len", **given)]
    return asked
