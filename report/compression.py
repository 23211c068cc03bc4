"""Bits that a byte of text takes: coded by a model, and by general-purpose compressors.

Three ways to count a model's own bytes. Static: not at all, as it was there before the text was.
Adjusted: its weights are sent along, Delétang et al., Language Modeling Is Compression, section 3.1
https://arxiv.org/abs/2309.10668. Prequential: nothing is sent, since whoever decodes trains the
same model on what was decoded so far, Blier & Ollivier, The Description Length of Deep Learning
Models, section 3.4  https://arxiv.org/abs/1802.07044.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, median
from typing import Any

import pandas as pd

from report.choice import Chosen, Setting, run_in
from report.units import show
from results import Codec, Record

MODEL, ALONE, WARMED = "model", "alone", "behind training text"
HALF_BYTES = 2  # of a weight in a 16-bit format
FIRST_BITS = 8  # of a window's first byte, of which nothing is known


def static_rate(record: Record) -> float | None:
    coding = record.coding
    return 8 * coding.coded_bytes / coding.text_bytes if coding else None


def overhead(record: Record) -> float | None:
    """What the arithmetic coder took beyond the model's own code length, as a share of it."""
    coding = record.coding
    return 8 * math.log(2) * coding.coded_bytes / coding.ideal_nats - 1 if coding else None


def adjusted_rate(record: Record, weight_bytes: int) -> float | None:
    """With every parameter at so many bytes sent along."""
    coding, params = record.coding, record.params
    if coding is None or params is None:
        return None
    return 8 * (coding.coded_bytes + weight_bytes * params) / coding.text_bytes


def prequential_rate(record: Record) -> float | None:
    """Of the training windows, each coded by what was learned from those before it.

    None where the budget is more than the training text: its windows recur, and coding a text
    again is no code of it.
    """
    case, windows = record.case, len(record.train_nats) * record.case.batch
    read_bytes = windows * (case.seq_len + 1)
    if record.training_bytes is None or not 0 < read_bytes <= record.training_bytes:
        return None
    bits = sum(record.train_nats) * case.batch * case.seq_len / math.log(2)
    return (bits + FIRST_BITS * windows) / read_bytes


def weights_share(record: Record) -> float | None:
    """16-bit weights over the training text read: a ratio of sizes, not a compression rate, as it
    leaves out what the text still takes once the weights are there."""
    if record.params is None or not record.case.tokens:
        return None
    return HALF_BYTES * record.params / record.case.tokens


def speed(record: Record, decoding: bool) -> float | None:
    coding = record.coding
    if coding is None:
        return None
    return coding.text_bytes / (coding.decode_s if decoding else coding.encode_s)


def codec_rates(record: Record, kind: str) -> dict[str, float]:
    """Bits a byte by each compressor: of the text alone, or of what the text adds to the coded
    training text ahead of it."""
    seen = {(codec.name, codec.coded): codec for codec in record.codecs}
    rates = {}
    for name, alone in ((name, codec) for (name, coded), codec in seen.items() if coded == "text"):
        coded_bytes = alone.coded_bytes
        if kind == WARMED:
            coded_bytes = seen[name, "both"].coded_bytes - seen[name, "training"].coded_bytes
        rates[name] = 8 * coded_bytes / alone.whole_bytes
    return rates


def _codec(codec: Codec, record: Record) -> dict[str, Any]:
    kind = ALONE if codec.coded == "text" else WARMED
    return {
        "compressor": codec.name,
        "kind": kind,
        "how": f"{codec.setting}; {codec.version}",
        "rate": codec_rates(record, kind)[codec.name],
        "encode": codec.whole_bytes / median(codec.encode_s),
        "decode": codec.whole_bytes / median(codec.decode_s),
    }


def _model(record: Record) -> dict[str, Any]:
    return {
        "compressor": record.case.arch,
        "kind": MODEL,
        "how": "",
        "rate": static_rate(record),
        "encode": speed(record, decoding=False),
        "decode": speed(record, decoding=True),
    }


def of_setting(chosen: Iterable[Chosen], setting: Setting) -> list[Record]:
    records = run_in((pick.record for pick in chosen), setting)
    return [record for record in records if record.coding is not None]


def rows(records: Sequence[Record]) -> pd.DataFrame:
    """A row for each model and each compressor, alone and warmed: rates in bits a byte, speeds in
    bytes/s, means over Records with the lowest and highest rate."""
    found = [_model(record) for record in records]
    for record in records:
        found += [_codec(codec, record) for codec in record.codecs if codec.coded != "training"]
    return (
        pd.DataFrame(found)
        .groupby(["kind", "compressor", "how"], as_index=False)
        .agg(
            rate=("rate", "mean"),
            low=("rate", "min"),
            high=("rate", "max"),
            encode=("encode", "mean"),
            decode=("decode", "mean"),
            runs=("rate", "count"),
        )
        .sort_values("rate", ignore_index=True)
    )


def _mean(values: Iterable[float | None], unit: str, nothing: str) -> str:
    known = [value for value in values if value is not None]
    return show(fmean(known), unit) if known else nothing


def _pays_from(record: Record, others: float) -> float | None:
    """Bytes of such text beyond which the model, its 16-bit weights sent along, takes fewer than
    `others` bits a byte; None: at no length."""
    rate = static_rate(record)
    if rate is None or record.params is None or rate >= others:
        return None
    return 8 * HALF_BYTES * record.params / (others - rate)


def table(records: Sequence[Record]) -> pd.DataFrame:
    """Everything on one text, best rate first; what does not apply is a dash."""
    lines = []
    best = min(rate for record in records for rate in codec_rates(record, ALONE).values())
    for row in rows(records).to_dict("records"):
        own = [r for r in records if row["kind"] == MODEL and r.case.arch == row["compressor"]]
        lines.append(
            {
                "compressor": row["compressor"],
                "knows": {MODEL: "its weights", ALONE: "nothing", WARMED: "training text"}[
                    row["kind"]
                ],
                "bits/byte": show(row["rate"], "bits/byte"),
                "encode": show(row["encode"], "bytes/s"),
                "decode": show(row["decode"], "bytes/s"),
                "prequential": _mean(map(prequential_rate, own), "bits/byte", "–"),
                "with 32-bit weights": _mean(
                    (adjusted_rate(r, 2 * HALF_BYTES) for r in own), "bits/byte", "–"
                ),
                "with 16-bit weights": _mean(
                    (adjusted_rate(r, HALF_BYTES) for r in own), "bits/byte", "–"
                ),
                "beats all that know nothing from": _mean(
                    (_pays_from(r, best) for r in own), "bytes", "never" if own else "–"
                ),
                "coder's overhead": _mean(map(overhead, own), "fraction", "–"),
                "weights over training text": _mean(map(weights_share, own), "fraction", "–"),
                "how": row["how"] or "–",
            }
        )
    return pd.DataFrame(lines)
