"""How much is asked of all that is learned: benchmarks/tiers.toml, narrowed by options."""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import archs
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
    seq_len: int
    batch: int
    steps: int
    seeds: tuple[int, ...]
    loads: tuple[int, ...] = ()  # empty: of text
    archs: tuple[str, ...] = ()  # empty: all
    short_conv: tuple[str, ...] = ()  # of "on", "off"; empty: as published
    by_name: bool = False  # asked only where --task says so


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
    wanted = [a for a in asks if (a.task in options.task if options.task else not a.by_name)]
    return [case for ask in wanted for case in _crossed(ask, options, dtype, corpus)]


def _crossed(ask: Ask, options: Any, dtype: str, corpus: str) -> Iterable[Case]:
    text = ask.phase in OF_TEXT
    for arch, asked_size, seq_len, seed, load, conv in product(
        options.arch or ask.archs or archs.names(),
        options.size or [None],
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
            short_conv=conv,
            kernel=options.kernel,
        )
        for lr in options.lr or [case.lr]:
            yield budgeted(replace(case, lr=lr), options)


def budgeted(case: Case, options: Any) -> Case:
    """With the training tokens that options name, or that their FLOPs buy this architecture; a
    checkpoint is not trained."""
    if case.tokens is None:
        return case
    if options.flops and case.phase in OF_TEXT:
        return replace(case, flops=round(options.flops), tokens=tokens_for(options.flops, case))
    return replace(case, tokens=options.tokens or case.tokens)
