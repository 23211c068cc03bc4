"""How much is asked of all that is learned: benchmarks/tiers.toml, narrowed by options."""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

from msgspec.structs import replace

import archs
from benchmarks.align import asked
from benchmarks.quality import default_lr, tokens_for
from results import Case
from results.schema import OF_TEXT, Learned, Phase

TIERS = Path(__file__).with_name("tiers.toml")
SHORT_CONV = {"on": True, "off": False}


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One training's setting, and the architectures, loads and seeds to cross it with."""

    phase: Learned
    task: str | None = None  # None: of text
    size: str
    sizes: tuple[str, ...] = ()  # empty: `size` alone
    seq_len: int
    batch: int
    steps: int = 0
    flops: tuple[float, ...] = ()  # of text, in place of steps: budgets, to cross with the sizes
    unique_bytes: int | None = None  # of text, that is read again and again
    instructions: Literal["rules", "chats"] | None = None  # align
    pairs: int | None = None  # align, of rules: preferences
    seeds: tuple[int, ...]
    loads: tuple[int, ...] = ()  # empty: of text
    archs: tuple[str, ...] = ()  # empty: all
    short_conv: tuple[str, ...] = ()  # of "on", "off"; empty: as published
    by_name: bool = False  # asked only where --task, or of text --phase, says so


@cache
def _tables() -> dict[str, Any]:
    return tomllib.loads(TIERS.read_text())


def names() -> list[str]:
    return list(_tables())


@cache
def load(tier: str) -> tuple[Ask, ...]:
    """What the tier asks, in the file's order. What `common` says holds for each of its asks."""
    table = _tables()[tier]
    return tuple(Ask(**_frozen(table["common"] | ask)) for ask in table["asks"])


def _frozen(fields: dict[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items()}


def short_convs(asked: Sequence[str]) -> list[bool | None]:
    return [SHORT_CONV[name] for name in asked] if asked else [None]


def cases(
    options: Any, default_tier: str, phases: Sequence[Phase], dtype: str, corpus: str
) -> list[Case]:
    """What the tier asks of `phases`. Raises ValueError on a task that it has no setting for."""
    tier = options.tier or default_tier
    asks = [ask for ask in load(tier) if ask.phase in phases]
    for task in options.task or () if phases else ():
        if task not in {ask.task for ask in asks}:
            raise ValueError(
                f"--task {task}: tier {tier} has no setting for it in {', '.join(phases)}; "
                f"add one to {TIERS.name}"
            )
    wanted = [ask for ask in asks if _is_wanted(ask, options)]
    return [case for ask in wanted for case in _crossed(ask, options, dtype, corpus)]


def _is_wanted(ask: Ask, options: Any) -> bool:
    if options.task:
        return ask.task in options.task
    if ask.instructions is not None and (ask.instructions == "chats") != bool(options.sft):
        return False
    named = ask.task is None and ask.phase in (options.phase or ())
    return named or not ask.by_name


def _crossed(ask: Ask, options: Any, dtype: str, corpus: str) -> Iterable[Case]:
    text = ask.phase in OF_TEXT or ask.instructions == "chats"
    for arch, asked_size, seq_len, seed, load, conv in product(
        options.arch or ask.archs or archs.usual(),
        options.size or ask.sizes or [None],
        options.seq_len or [ask.seq_len],
        options.seed or ask.seeds,
        options.load or ask.loads or [None],
        short_convs(options.short_conv or ask.short_conv),
    ):
        size = asked_size or archs.default_size(arch, ask.size)
        batch = options.batch or ask.batch
        case = Case(
            phase=ask.phase,
            arch=arch,
            size=size,
            seq_len=seq_len,
            batch=batch,
            dtype=dtype,
            seed=seed,
            tokens=ask.steps * batch * seq_len,
            lr=default_lr(arch, size, ask.task),
            corpus=corpus if text else None,
            tokenizer=options.tokenizer if text else "bytes",
            task=ask.task,
            load=load,
            unique_bytes=ask.unique_bytes,
            instructions=asked.named(options) if ask.instructions else None,
            pairs=ask.pairs,
            short_conv=conv,
            kernel=options.kernel,
        )
        for lr, flops in product(options.lr or [case.lr], ask.flops or [None]):
            yield budgeted(replace(case, lr=lr), options, flops)


def budgeted(case: Case, options: Any, flops: float | None = None) -> Case:
    """With the training tokens that options name, or that their FLOPs, or `flops`, buy this
    architecture; a checkpoint is not trained."""
    if case.tokens is None:
        return case
    flops = options.flops or flops
    if flops and case.phase in OF_TEXT and not options.tokens:
        return replace(case, flops=round(flops), tokens=tokens_for(flops, case))
    return replace(case, tokens=options.tokens or case.tokens)
