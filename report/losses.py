"""What a held-out loss is worth, in the units that people compare."""

import math

from results import Evaluation, Record


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
