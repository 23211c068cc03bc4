"""Where the numbers come from: machine, versions, commit, when, and which bytes were read."""

from collections.abc import Iterable, Sequence
from typing import Any

from report.choice import setting_of, unusual
from report.compare import FAILURES
from report.metrics import METRICS
from report.roofline import ceiling
from report.units import show, show_length
from results import Record


def _several(values: Iterable[Any]) -> str:
    return " / ".join(sorted({str(value) for value in values if value is not None})) or "unknown"


def _merged(dictionaries: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Key by key, every distinct value: more than one means that the Records do not agree."""
    keys = sorted({key for dictionary in dictionaries for key in dictionary})
    return {
        key.removesuffix("_bytes"): _several(
            show(d[key], "bytes") if key.endswith("_bytes") else d[key]
            for d in dictionaries
            if key in d
        )
        for key in keys
    }


def _ceilings(records: Sequence[Record]) -> dict[str, str]:
    names = sorted({name for record in records for name in record.ceilings})
    best = {
        name: max(rate for r in records if (rate := ceiling(r, name)) is not None) for name in names
    }
    return {
        f"best {name}": f"{rate / 1e9:,.1f} G{'B/s' if name == 'copy' else 'FLOP/s'}"
        for name, rate in best.items()
    }


def provenance(records: Sequence[Record]) -> dict[str, str]:
    """The facts of one label's Records, in reading order."""
    days = sorted(record.measured_at[:16].replace("T", " ") for record in records)
    facts = {f"machine: {k}": v for k, v in _merged([r.machine for r in records]).items()}
    facts |= {f"version: {k}": v for k, v in _merged([r.versions for r in records]).items()}
    facts["commit"] = _several(record.commit for record in records)
    facts["measured (UTC)"] = days[0] if days[0] == days[-1] else f"{days[0]} to {days[-1]}"
    facts["peak memory read by"] = _several(record.peak_method for record in records)
    facts |= _ceilings(records)
    for corpus in sorted({r.case.corpus for r in records if r.case.corpus is not None}):
        sums = (r.corpus_sha256 for r in records if r.case.corpus == corpus)
        facts[f"corpus {corpus}, sha256"] = _several(sums)
    return facts


def failures(records: Iterable[Record]) -> list[str]:
    """One sentence for each Record that is not ok."""
    return [
        f"{c.phase} {c.arch} {c.size}, length {show_length(c.seq_len)}, batch {c.batch}, {c.dtype}"
        + "".join(f", {word}" for word in unusual(how.mode, how.kernel, how.short_conv, how.ranks))
        + (f", learning rate {c.lr:g}" if c.lr is not None else "")
        + f": {FAILURES[record.status]}"
        + (f" ({record.reason})" if record.reason else "")
        for record in records
        for c, how in [(record.case, setting_of(record.case))]
        if record.status != "ok"
    ]


def parameter_match(records: Iterable[Record]) -> str | None:
    """How far apart the compared architectures are in size; None for fewer than two."""
    counts = {r.case.arch: n for r in records if (n := METRICS["parameters"].of(r))}
    if len(counts) < 2:
        return None
    low, high = min(counts.values()), max(counts.values())
    return (
        f"Parameters without embeddings: {show(low, 'parameters')} to {show(high, 'parameters')}, "
        f"{100 * (high / low - 1):.1f} % apart."
    )
