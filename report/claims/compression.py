"""The claim that a language model is a compressor of text, and a better one than those in use."""

from report.choice import Setting
from report.claims.evidence import (
    SEEDS,
    Evidence,
    Judgement,
    Range,
    Seeds,
    decide,
    say,
    seeds_mean,
    together,
    undecided,
)
from report.claims.quality import best
from report.compression import ALONE, WARMED, codec_rates, static_rate
from report.statistics import Estimate
from report.units import show_count

# bits a byte of the model less those of the best compressor that knows the training text
SMALLER, LARGER = Range(high=0.0), Range(low=0.0)


def compresses_better(evidence: Evidence) -> Judgement:
    """On each text with the greatest budget that was trained on it."""
    by_text: dict[str, Setting] = {}
    settings = evidence.trained("compress")
    measured = [s for s in settings if best(settings[s], sorted(settings[s])) is not None]
    for setting in sorted(measured, key=lambda s: (s.tokens, s.flops, s.seq_len, s.batch)):
        by_text[setting.corpus] = setting
    if not by_text:
        return undecided(f"not measured: it takes an architecture with {SEEDS} seeds")
    return together(_of_text(s, settings[s]) for _, s in sorted(by_text.items()))


def _of_text(setting: Setting, runs: dict[str, Seeds]) -> Judgement:
    arch = best(runs, sorted(runs))
    assert arch is not None
    records = [record for record in runs[arch].values() if record.coding is not None]
    models = [rate for record in records if (rate := static_rate(record)) is not None]
    alone, warmed = (
        {name: rate for record in records for name, rate in codec_rates(record, kind).items()}
        for kind in (ALONE, WARMED)
    )
    rival = min(warmed, key=warmed.__getitem__)
    own = seeds_mean(models)
    apart = own and Estimate(
        value=own.value - warmed[rival],
        low=own.low - warmed[rival],
        high=own.high - warmed[rival],
    )
    budget = show_count(setting.tokens) + " tokens" if setting.tokens else f"{setting.flops} FLOPs"
    beaten = [name for name, rate in sorted(alone.items()) if own and own.high < rate]
    return Judgement(
        verdict=decide(apart, SMALLER, LARGER),
        measured=[
            f"{setting.corpus} after {budget}: {arch} {say(own, ' bits/byte', 3)}; {rival} behind "
            f"as much training text {warmed[rival]:.3f}: {say(apart, ' apart', 3)}",
            f"{setting.corpus}: of compressors that know nothing, {arch} beats "
            f"{', '.join(beaten) or 'none'}; the best of them is "
            f"{min(alone, key=alone.__getitem__)} with {min(alone.values()):.3f}",
        ],
        records=records,
    )
