"""`python -m benchmarks peers`: every pair asked for, measured and saved."""

import argparse
import time
from collections.abc import Iterable

import results
from benchmarks import machine, modes, peers, sweep
from benchmarks.peers._pair import MODES, ROUNDS, cases, measure
from benchmarks.peers._peer import Missing, Peer
from benchmarks.peers._process import Failed
from results import Case
from results.names import folder
from results.schema import record_path

SEQ_LENS = [1024]


def add_options(command: argparse.ArgumentParser) -> None:
    shared = dict(sweep.OPTIONS)
    words = shared["--phase"]["type"]
    command.add_argument("--arch", **shared["--arch"])
    command.add_argument("--impl", type=words, help="the peers' names, comma-separated")
    command.add_argument("--seq-len", **shared["--seq-len"] | {"default": SEQ_LENS})
    command.add_argument("--phase", type=words, help=f"of {', '.join(ROUNDS)} (default: both)")
    command.add_argument(
        "--mode",
        type=words,
        help="of ours, eager and compile (default: both where this machine can compile)",
    )
    command.add_argument("--label", **shared["--label"])
    command.add_argument("--results", type=folder, default=results.ROOT, help="folder of labels")
    command.add_argument("--limit", type=float, default=60.0, help="seconds a side may be timed")
    command.add_argument("--fresh", action="store_true", help="measure finished pairs again")
    command.set_defaults(run=run)


def _known(flag: str, asked: Iterable[str], have: Iterable[str]) -> None:
    for name in asked:
        if name not in have:
            raise ValueError(f"{flag}: no peer has {name!r}; there are {', '.join(have)}")


def wanted(options: argparse.Namespace, have: list[Peer]) -> list[tuple[Peer, tuple[Case, ...]]]:
    """The pairs asked for, shortest first. Raises ValueError on an unknown name."""
    _known("--arch", options.arch or (), sorted({peer.arch for peer in have}))
    _known("--impl", options.impl or (), sorted({peer.impl for peer in have}))
    _known("--phase", options.phase or (), ROUNDS)
    possible = [mode for mode in MODES["peer-decode"] if not modes.why_not(mode, "cpu")]
    _known("--mode", options.mode or (), possible)
    if not all(length > 0 for length in options.seq_len):
        raise ValueError("--seq-len must be above 0")
    pairs = [
        (peer, cases(peer, options.mode or possible, phase=phase, seq_len=seq_len))
        for seq_len in sorted(options.seq_len)
        for peer in have
        if peer.arch in (options.arch or [peer.arch]) and peer.impl in (options.impl or [peer.impl])
        for phase in options.phase or ROUNDS
    ]
    return [(peer, sides) for peer, sides in pairs if len(sides) > 1]  # one of ours at least


def run(options: argparse.Namespace) -> int:
    """0: every pair is measured; 1: some could not be, and what is printed says why."""
    pairs = wanted(options, peers.find())
    env = machine.environment("cpu", options.label)
    failures = 0
    for place, (peer, pair) in enumerate(pairs, start=1):
        start, status = time.perf_counter(), "ok"
        paths = [record_path(case, env.label, options.results) for case in pair]
        if not options.fresh and all(path.exists() for path in paths):
            status = "had"
        else:
            try:
                records = measure(peer, pair, env, options.limit)
            except (Missing, Failed) as error:
                status, failures = f"not measured: {error}", failures + 1
            else:
                # never one side of this measurement beside the other of an earlier one
                for path in paths:
                    path.unlink(missing_ok=True)
                for record in records:
                    record.save(options.results)
        took_s = time.perf_counter() - start
        print(f"[{place}/{len(pairs)}] {pair[-1]}  {status}  {took_s:.1f} s", flush=True)
    return 1 if failures else 0
