"""What the page's plots draw from: the tidy rows by column, where each comes from, the bands.

Numbers keep six digits. Texts are cut, so that one absurd Record costs only itself.
"""

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from gzip import compress
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.markers import MarkerStyle

from report.attainment import Attained
from report.build import Section
from report.choice import SETTING, Setting, setting_of, unusual
from report.metrics import METRICS
from report.plots.style import Style
from report.plots.words import budget, cost_setting
from report.table import phase_of
from report.units import show_length
from results import Record
from results.schema import LEARNED

QUALITIES = ("perplexity", "bits_per_byte", "accuracy", "solved", "excess")
NUMBERS = ("value", "low", "high")
WHO = ["label", "size", "arch", *SETTING]
# plotly's names of matplotlib's markers and lines
SYMBOLS = {
    **{"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down"},
    **{"P": "cross", "<": "triangle-left", ">": "triangle-right", "p": "pentagon", "h": "hexagon"},
    "*": "star",
}
DASHES = {"-": "solid", "--": "dash", "-.": "dashdot"}
DARK = {"#000000": "#f3f4f6", "#0072B2": "#2f8fd6"}  # on dark paper; the others suit both
NAMES_SHOWN = 12  # files of one row before the rest is only counted
LONGEST = 200  # characters of a name or a reason


def cut(text: object, longest: int = LONGEST) -> str:
    """`text` as it can be shown: no longer than that, and no half of a character."""
    whole = str(text).encode("utf-8", "replace").decode()
    if len(whole) <= longest:
        return whole
    return f"{whole[:longest]}… (cut: {len(whole):,} characters)"


def packed(text: str) -> str:
    """`text` as letters and digits that a browser unpacks. The same text gives the same."""
    return b64encode(compress(text.encode(), mtime=0)).decode()


def _number(value: float | None) -> float | None:
    known = value is not None and math.isfinite(value)
    return float(f"{value:.6g}") if known else None


def _coded(values: Iterable[Any]) -> dict[str, list[Any]]:
    """Each distinct value once, and for each row its place among them."""
    places: dict[Any, int] = {}
    codes = [places.setdefault(value, len(places)) for value in values]
    return {"values": [cut(v) if isinstance(v, str) else v for v in places], "codes": codes}


def _several(values: Iterable[object]) -> str:
    distinct = sorted({cut(value) for value in values})
    more = f" and {len(distinct) - NAMES_SHOWN:,} more" if len(distinct) > NAMES_SHOWN else ""
    return ", ".join(distinct[:NAMES_SHOWN]) + more


def _key(record: Record) -> tuple[Any, ...]:
    case = record.case
    setting = setting_of(case)._asdict() | {"phase": phase_of(case)}
    return record.label, case.size, case.arch, *setting.values()


def _source(records: Sequence[Record]) -> dict[str, str]:
    versions = {f"{name} {version}" for r in records for name, version in r.versions.items()}
    told = {
        "Record": _several(f"{record.label}/{record.case}.json" for record in records),
        "seeds": _several(record.case.seed for record in records),
        "why": _several(record.reason for record in records if record.reason),
        "commit": _several(record.commit or "unknown" for record in records),
        "versions": _several(versions),
        "kernels": _several(f"{op}: {name}" for r in records for op, name in r.kernels.items()),
        "measured": _several(record.measured_at[:10] for record in records),
    }
    return {name: text for name, text in told.items() if text}


def _sources(parts: Sequence[Section]) -> dict[tuple[Any, ...], dict[str, str]]:
    """Of each row's Records that count: where they lie and what made them."""
    grouped: dict[tuple[Any, ...], list[Record]] = {}
    for part in parts:
        chosen = {id(pick.record) for pick in part.evidence.chosen}
        for record in part.evidence.records:
            if record.case.phase not in LEARNED or id(record) in chosen:
                grouped.setdefault(_key(record), []).append(record)
    return {key: _source(records) for key, records in grouped.items()}


def _most_shared_first(rows: pd.DataFrame) -> pd.DataFrame:
    """What most architectures have in common first: what is left out for size is the rest."""
    shared = rows.groupby(["label", "size", *SETTING, "metric"])["arch"].transform("nunique")
    order = shared.sort_values(ascending=False, kind="stable").index
    return rows.loc[order]


def _at(row: Mapping[Any, Any]) -> str:
    """In which setting, in words: after what training, where something was learned."""
    setting = Setting(**{name: row[name] for name in SETTING})
    if setting.phase not in LEARNED:
        return cost_setting(setting)
    what = f"{setting.task} {setting.load}" if setting.task else setting.corpus
    how = [setting.dtype, *unusual(setting.mode, setting.kernel, setting.short_conv)]
    trained = f"{budget(setting)} of {what}", f"length {show_length(setting.seq_len)}"
    return " · ".join([*trained, f"batch {setting.batch}", *how])


def _worded(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows`, and in words their settings, and how each was run apart from its mode."""
    settings = rows[SETTING].drop_duplicates()
    each = settings.to_dict("records")
    how = [[row["dtype"], *unusual("eager", row["kernel"], row["short_conv"])] for row in each]
    words = settings.assign(at=[_at(row) for row in each], how=[" · ".join(some) for some in how])
    return rows.merge(words, on=SETTING)


def _columns(rows: pd.DataFrame, sources: Mapping[tuple[Any, ...], dict[str, str]]) -> Any:
    places: dict[tuple[Any, ...], int] = {}
    keys = rows[WHO].itertuples(index=False, name=None)
    of_rows = [places.setdefault(key, len(places)) for key in keys]
    plain = [name for name in rows.columns if name not in NUMBERS]
    return {
        "texts": {name: _coded(rows[name].tolist()) for name in plain},
        "numbers": {name: [_number(value) for value in rows[name].tolist()] for name in NUMBERS},
        "sources": {"values": [sources[key] for key in places], "codes": of_rows},
    }


def _band(found: Attained) -> dict[str, Any]:
    one = found.comparison
    points = one.points.iloc[0]
    return {
        "label": cut(points["label"]),
        "size": cut(points["size"]),
        "metric": one.panel.metric.name,
        "cost": {name: cut(value) for name, value in one.cost._asdict().items()},
        "quality": {name: cut(value) for name, value in one.quality._asdict().items()},
        "surfaces": {
            name: [[_number(x), _number(y)] for x, y in corners.tolist()]
            for name, corners in found.surfaces.items()
        },
    }


def _outline(marker: str) -> str:
    """A marker as an SVG path in a square of -1 to 1."""
    style = MarkerStyle(marker)
    path = style.get_path().transformed(style.get_transform())
    corners = np.asarray(path.to_polygons()[0])
    corners /= np.abs(corners).max()
    return "M" + "L".join(f"{x:.2f} {-y:.2f}" for x, y in corners.tolist()) + "Z"


def _look(style: Style) -> dict[str, str]:
    return {
        "light": style.colour,
        "dark": DARK.get(style.colour, style.colour),
        "symbol": SYMBOLS[style.marker],
        "outline": _outline(style.marker),
        "dash": DASHES[style.line],
    }


def first(parts: Sequence[Section]) -> Section:
    """Where the page opens: most architectures compared, in most panels."""
    return max(parts, key=lambda part: (sum(len(one.points) for one in part.found), len(part.rows)))


def _start(parts: Sequence[Section]) -> dict[str, str]:
    """What the plots show before anybody chooses; what is not said, the page picks likewise."""
    part = first(parts)
    row = part.rows.iloc[0] if len(part.rows) else None
    start = {} if row is None else {"label": cut(row["label"]), "size": cut(row["size"])}
    if part.found:
        one = part.found[0]
        start |= {"x": one.panel.metric.name, "y": "perplexity", "phase": one.cost.phase}
        start |= {"seq_len": str(one.cost.seq_len), "batch": str(one.cost.batch)}
        start |= {"mode": one.cost.mode}
    return start


def payload(
    parts: Sequence[Section], looks: dict[str, Style], files: dict[str, str], most_bytes: int
) -> tuple[str, str | None]:
    """The plots' data, packed into at most that, and a sentence on what had to be left out."""
    rows = [part.rows for part in parts if len(part.rows)]
    if not rows:
        return packed("null"), None
    every = kept = _most_shared_first(_worded(pd.concat(rows, ignore_index=True)))
    sources, fixed = (
        _sources(parts),
        {
            "archs": {cut(name): _look(style) for name, style in looks.items()},
            "metrics": {
                name: {
                    "label": metric.label,
                    "unit": metric.unit,
                    "better": metric.better,
                    "quality": name in QUALITIES,
                }
                for name, metric in METRICS.items()
            },
            "bands": [_band(one) for part in parts for one in part.evidence.attained],
            "start": _start(parts),
        },
    )
    left_out = []
    while True:
        data = fixed | {"rows": _columns(kept, sources), "files": files}
        text = packed(json.dumps(data, allow_nan=False, separators=(",", ":")))
        if len(text) <= most_bytes:
            break
        if files:
            files, left_out = {}, ["the downloads of tables and figures' numbers"]
        else:
            kept = kept.head(int(len(kept) * min(0.9, 0.95 * most_bytes / len(text))))
    if len(kept) < len(every):
        left_out += [f"{len(every) - len(kept):,} of {len(every):,} rows of the plots' data"]
    if not left_out:
        return text, None
    what = " and ".join(left_out)
    return text, f"To keep this page small, it lacks {what}; all is in the files beside it."
