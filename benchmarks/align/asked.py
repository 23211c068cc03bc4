"""What options ask of alignment, and whether it can be had."""

from collections.abc import Sequence
from typing import Any

from benchmarks.align import chat_files, chats
from benchmarks.align.rules import Rules
from benchmarks.data.vocabulary import BYTES
from results.schema import Phase

RULES = "rules"


def named(options: Any) -> str:
    """The instructions that `--sft` and `--preferences` ask for, as a Case names them.

    Raises ValueError if they cannot be had.
    """
    if options.preferences and options.sft in ([], [chats.DIALOGUES]):
        raise ValueError("--preferences are learned after fine-tuning; give --sft FILE too")
    if not options.sft:
        return RULES
    if options.sft == [chats.DIALOGUES]:
        chats.dialogues()
        return chats.DIALOGUES
    return chat_files.named(tuple(options.sft), tuple(options.preferences))


def check(options: Any, phases: Sequence[Phase]) -> None:
    """Raises ValueError where what is asked cannot be had, or is asked of another phase."""
    if "align" not in phases:
        if options.sft or options.preferences:
            raise ValueError("--sft and --preferences are of --phase align; add it")
        return
    if options.tokenizer != BYTES.name:
        raise ValueError(f"--phase align reads bytes, not {options.tokenizer}; use {BYTES.name}")
    if named(options) == RULES and list(phases) == ["align"]:
        for seq_len in options.seq_len or ():
            Rules(seq_len=seq_len)
