"""What can be asked of a checkpoint: its quality as it is, in its own tokens, and what it costs."""

from collections.abc import Sequence
from typing import Any

import archs
from archs import _spine
from benchmarks import outside
from benchmarks.data import vocabulary
from benchmarks.phases import max_len
from results import Case
from results.schema import Phase

PHASES: tuple[Phase, ...] = ("train", "prefill", "decode", "quality", "limits")


def _config(arch: str, size: str) -> _spine.Config:
    config: _spine.Config = archs.load(arch).SIZES[size]
    return config


def tokenizer(arch: str, size: str) -> str | None:
    """Of the text that the weights were trained on; None: they are fresh."""
    return _config(arch, size).tokenizer if outside.is_checkpoint(arch) else None


def check(arch: str, config: _spine.Config, phases: Sequence[Phase], options: Any) -> None:
    """Raises ValueError where `options` ask of a checkpoint what can be asked of fresh weights
    only."""
    for phase in phases:
        if phase not in PHASES or options.tier:
            what = f"--tier {options.tier}" if options.tier else f"--phase {phase}"
            raise ValueError(f"{what}: {arch} is trained already; it takes {', '.join(PHASES)}")
    if options.short_conv:
        raise ValueError(f"--short-conv: {arch} is what it was trained to be")
    if options.mode and "eager" not in options.mode:
        raise ValueError(f"--mode: {arch} runs eagerly, as its cache grows; use eager")
    asked = max(options.seq_len or [0])
    if config.max_len is not None and asked > config.max_len:
        raise ValueError(f"--seq-len {asked}: {arch} has places for {config.max_len} tokens")
    if "quality" in phases and config.tokenizer is not None:
        vocabulary.size(config.tokenizer)


def can_be(case: Case) -> bool:
    """Whether a default was right for a checkpoint too: how it runs, and for how many tokens."""
    if not outside.is_checkpoint(case.arch):
        return True
    config = _config(case.arch, case.size)
    if config.max_len is not None and (max_len(case) > config.max_len or case.grows == "seq_len"):
        return False
    return case.mode == "eager"
