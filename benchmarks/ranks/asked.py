"""What options ask of several ranks, and whether they can have it."""

import typing
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

import archs
from benchmarks import tiers
from benchmarks.ranks import context, launch
from results import Case
from results.schema import Phase, Shard

PHASES: tuple[Phase, ...] = ("train", "quality")  # that several do together


def check(options: Any, phases: Sequence[Phase]) -> None:
    """Raises ValueError on what no machine could do."""
    if options.ranks is None and options.shard is None:
        return
    if options.ranks is None or options.shard is None:
        raise ValueError(
            "--ranks N and --shard belong together: how many processes train, and what each has a "
            f"part of, one of {', '.join(typing.get_args(Shard))}"
        )
    if options.ranks < 2:
        raise ValueError(f"--ranks must be 2 or more, not {options.ranks}; leave it out for one")
    if alone := [phase for phase in phases if phase not in PHASES]:
        raise ValueError(
            f"--ranks: {', '.join(alone)} runs in one process; several together do "
            f"{' and '.join(PHASES)}, so use --phase {','.join(PHASES)}"
        )
    if set(options.mode or ()) - {"eager"}:
        raise ValueError(f"--ranks: several processes run eagerly, not --mode {options.mode[0]}")
    if options.shard == "context":
        _check_context(options)


def _check_context(options: Any) -> None:
    if options.kernel != "auto":
        raise ValueError("--shard context chooses attention's kernel itself; use --kernel auto")
    for arch in options.arch or archs.usual():
        for conv in tiers.short_convs(options.short_conv or ()):
            if not context.can_be_cut(arch, conv):
                raise ValueError(
                    f"--shard context: in {arch} more than attention carries the past, so its "
                    "sequences cannot be split between ranks; use --shard fsdp or ddp"
                )


def why_not(options: Any, device: str, elsewhere: bool) -> str | None:
    """Why the ranks cannot be had, in a clause; `elsewhere`: other machines provide them."""
    if options.shard == "context" and (reason := context.why_not(device)):
        return reason
    have, what = launch.available(device), {"cpu": "core", "cuda": "GPU"}[device]
    if elsewhere or have >= options.ranks:
        return None
    return f"each needs a {what} of its own, and there are {have}"


def spread(case: Case, options: Any) -> Case:
    """The case, done by the ranks. Raises ValueError if it does not divide."""
    if options.shard == "context":
        # torch gives each rank a piece of the head and one of the tail, as late tokens see more
        whole, count, flag = case.seq_len, 2 * options.ranks, "--seq-len"
    else:
        whole, count, flag = case.batch, options.ranks, "--batch"
    if whole % count:
        raise ValueError(
            f"--ranks {options.ranks}: {flag} {whole} of {case} does not divide by {count}; "
            f"use --phase {case.phase} {flag} with a multiple of {count}"
        )
    return replace(case, ranks=options.ranks, shard=options.shard)
