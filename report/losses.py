"""What a held-out loss is worth, in the units that people compare."""

import math

from results import Evaluation, Record, Tally

SOLVED = 0.99  # of a task's answers right: it is learned (feasibility study)


def evaluation(record: Record, split: str, context: int) -> Evaluation | None:
    matches = (e for e in record.evaluations if (e.split, e.context) == (split, context))
    return next(matches, None)


def nats_per_token(held_out: Evaluation) -> float | None:
    return sum(held_out.nats) / sum(held_out.tokens) if sum(held_out.tokens) else None


def perplexity(held_out: Evaluation) -> float | None:
    nats = nats_per_token(held_out)
    # beyond 700 nats the perplexity of a broken model no longer fits a float
    return math.exp(nats) if nats is not None and nats < 700 else None


def bits_per_byte(held_out: Evaluation) -> float | None:
    bits = sum(held_out.nats) / math.log(2)
    return bits / held_out.target_bytes if held_out.target_bytes else None


def tally(record: Record, split: str, seq_len: int) -> Tally | None:
    matches = (t for t in record.tallies if (t.split, t.seq_len) == (split, seq_len))
    return next(matches, None)


def nats_per_answer(answered: Tally) -> float | None:
    return sum(answered.nats) / sum(answered.answers) if sum(answered.answers) else None


def accuracy(answered: Tally) -> float | None:
    return sum(answered.right) / sum(answered.answers) if sum(answered.answers) else None


def solved(answered: Tally) -> float | None:
    """1 if the task was learned, 0 if not: over seeds the rate of success."""
    right = accuracy(answered)
    return None if right is None else float(right >= SOLVED)


def excess_nats(answered: Tally) -> float | None:
    """What an answer costs beyond the exact Bayes predictor's; None: it has none."""
    own = nats_per_answer(answered)
    if own is None or not answered.bayes_nats:
        return None
    return own - sum(answered.bayes_nats) / sum(answered.answers)
