"""`python -m benchmarks tune`: the learning rate that suits each architecture and task best.

Rates each twice the one before, around the rate at hand; then on beyond whichever end does best,
until the best lies between two that do worse or REACH doublings are spent. No grid is cut short.
Chosen on validation, with the first seed; the other seeds are then trained at that rate. Every run
is a Record, so a tuning that was stopped goes on, and the report sees all of it.
"""

import argparse
import sys
from collections.abc import Mapping

from msgspec.structs import replace

import results
from benchmarks import sweep
from benchmarks.isolation import Halt
from benchmarks.session import Session
from results import Case, Record
from results.names import folder
from results.schema import LEARNED, OF_TEXT

RATES = 6  # to begin with, more of them below the rate at hand than above
REACH = 4  # doublings beyond either end


def grid(rates: int) -> range:
    """Doublings of the rate at hand."""
    return range(-(rates // 2), rates - rates // 2)


def beyond(seen: Mapping[int, float | None], rates: int = RATES) -> int | None:
    """The doubling to try next, or None once the best is interior or out of reach.

    `seen` is the validation loss at each doubling, None where the training failed; where all did,
    lower ones are tried.
    """
    worked = {doubling: nats for doubling, nats in seen.items() if nats is not None}
    best = min(worked, key=lambda doubling: worked[doubling]) if worked else min(seen)
    if best == min(seen) > grid(rates)[0] - REACH:
        return best - 1
    if best == max(seen) < grid(rates)[-1] + REACH:
        return best + 1
    return None


def best_doubling(seen: Mapping[int, float | None]) -> int | None:
    """None where every training failed."""
    worked = {doubling: nats for doubling, nats in seen.items() if nats is not None}
    return min(worked, key=lambda doubling: worked[doubling]) if worked else None


def at(case: Case, doubling: int) -> Case:
    assert case.lr is not None
    return replace(case, lr=float(f"{case.lr * 2**doubling:.3g}"))


def valid_nats(record: Record) -> float | None:
    """Summed over the validation targets, which rivals share; None if it failed."""
    if record.status != "ok":
        return None
    if record.case.phase in OF_TEXT:
        (told,) = (told for told in record.evaluations if told.split == "valid")
        return sum(told.nats)
    (tally,) = (tally for tally in record.tallies if tally.split == "valid")
    return sum(tally.nats)


class Tuning:
    def __init__(self, session: Session, stop_after: float | None, rates: int = RATES) -> None:
        self.session, self.stop_after, self.begin_with = session, stop_after, rates
        firsts: dict[Case, Case] = {}
        for case in sorted(session.cases, key=lambda case: case.seed):
            firsts.setdefault(replace(case, seed=0), case)
        self.seen: dict[Case, dict[int, float | None]] = {case: {} for case in firsts.values()}

    def record(self, cases: list[Case]) -> bool:
        """Have a Record of each; whether there was time for all."""
        self.session.start(cases)
        for case in cases:
            record = self.session.finished(case)
            if record is None:
                if self.stop_after is not None and self.session.age_s() > self.stop_after:
                    return False
                record = self.session.measure(case)
                print(f"{case}  {record.status}", flush=True)
        return True

    def take_down(self, case: Case, doubling: int) -> None:
        self.seen[case][doubling] = valid_nats(results.read(self.session.path(at(case, doubling))))

    def rates(self) -> bool:
        """Try rates until each best is interior or out of reach; whether there was time."""
        wanted = [(case, doubling) for case in self.seen for doubling in grid(self.begin_with)]
        while wanted:
            if not self.record([at(case, doubling) for case, doubling in wanted]):
                return False
            for case, doubling in wanted:
                self.take_down(case, doubling)
            more = ((case, beyond(seen, self.begin_with)) for case, seen in self.seen.items())
            wanted = [(case, doubling) for case, doubling in more if doubling is not None]
        return True

    def seeds(self) -> bool:
        """Train every other seed at the best rate; whether there was time."""
        best = {replace(case, seed=0): best_doubling(seen) for case, seen in self.seen.items()}
        others = [case for case in self.session.cases if case not in self.seen]
        at_best = ((case, best[replace(case, seed=0)]) for case in others)
        return self.record(
            [at(case, doubling) for case, doubling in at_best if doubling is not None]
        )

    def lines(self) -> list[str]:
        """One for each architecture and task: its best rate, and where that lies."""
        told = []
        for case, seen in self.seen.items():
            best = best_doubling(seen)
            if best is None:
                told.append(f"{case}: every training failed")
                continue
            edge = "" if min(seen) < best < max(seen) else "  (edge)"
            masked = "" if case.masked is None else f" masked {case.masked:g}"
            what = f"{case.task or case.corpus} {case.arch}{masked}"
            told.append(f"{what} = {at(case, best).lr:g}{edge}")
        return told


def tune(options: argparse.Namespace) -> int:
    """0 once all is tuned, 1 if time ran out or no more can be kept.

    Raises ValueError on phases that train nothing.
    """
    tuned = [phase for phase in LEARNED if phase != "align"]  # which has several rates
    strangers = [phase for phase in sweep.asked_phases(options) if phase not in tuned]
    if strangers:
        raise ValueError(
            f"tune: no learning rate to choose in {', '.join(strangers)}; "
            f"use --tier, --task, or --phase of {', '.join(tuned)}"
        )
    session = Session(options)
    try:
        if trained := {case.arch for case in session.cases if case.lr is None}:
            raise ValueError(f"tune: {', '.join(sorted(trained))} is trained already")
        tuning = Tuning(session, options.stop_after, options.rates)
        if tuning.rates() and tuning.seeds():
            print("\n".join(tuning.lines()))
            return 0
        print(f"stopped after {options.stop_after:g} s; the same command goes on here")
        return 1
    except Halt as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        session.close()


def add_options(parser: argparse.ArgumentParser) -> None:
    for flag, keywords in sweep.OPTIONS:
        parser.add_argument(flag, **keywords)
    parser.add_argument("--fresh", action="store_true", help="train finished cells again")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds a training may take")
    parser.add_argument(
        "--rates", type=int, choices=range(1, 13), default=RATES, metavar="N", help="to begin with"
    )
    parser.add_argument("--stop-after", type=float, help="seconds after which none is started")
    parser.add_argument("--results", type=folder, default=results.ROOT, help="folder of labels")
    parser.set_defaults(run=tune)
