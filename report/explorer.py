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
from report.choice import SETTING, Setting, unusual
from report.metrics import METRICS
from report.plots.style import Style
from report.plots.words import budget, cost_setting
from report.sources import cut
from report.units import show_length
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
    how = [setting.dtype, *unusual(setting.mode, setting.kernel, setting.short_conv, setting.ranks)]
    trained = f"{budget(setting)} of {what}", f"length {show_length(setting.seq_len)}"
    return " · ".join([*trained, f"batch {setting.batch}", *how])


def _worded(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows`, and in words their settings, and how each was run apart from its mode."""
    settings = rows[SETTING].drop_duplicates()
    each = settings.to_dict("records")
    how = [
        [row["dtype"], *unusual("eager", row["kernel"], row["short_conv"], row["ranks"])]
        for row in each
    ]
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


def _start(parts: Sequence[Section]) -> dict[str, str]:
    """What the plots show before anybody chooses; what is not said, the page picks likewise."""
    part = next(part for part in parts if part.opening)
    start = dict(zip(("label", "size"), map(cut, part.key), strict=True)) if part.rows else {}
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
    rows = [part.explored for part in parts if len(part.explored)]
    if not rows:
        return packed("null"), None
    every = sum(part.rows for part in parts)
    kept = _most_shared_first(_worded(pd.concat(rows, ignore_index=True)))
    sources = {key: source for part in parts for key, source in part.sources.items()}
    fixed = {
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
    }
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
    if len(kept) < every:
        left_out += [f"{every - len(kept):,} of {every:,} rows of the plots' data"]
    if not left_out:
        return text, None
    what = " and ".join(left_out)
    return text, f"To keep this page small, it lacks {what}; all is in the files beside it."
