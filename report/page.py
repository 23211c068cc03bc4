"""One page that a person opens, whole in one file: plots to explore, verdicts, tables, sources.

It asks no other file and no network for anything: plotly and the plots' data are packed into it,
and a policy in its head lets the browser run these scripts and no others.
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import jinja2
import pandas as pd
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from report import claims, peers
from report.answer import answer
from report.build import Section
from report.claims import Finding
from report.explorer import packed, payload
from report.inert import csv_of
from report.plots.drawing import Drawing
from report.plots.style import styles
from report.sources import cut
from report.studies import Study

HERE = Path(__file__).parent
LONGEST = 3000  # characters of a sentence
DATA_BYTES = 2_000_000  # at most, packed
SECTIONS_BYTES = 1_900_000  # of all machines' figures and tables; with plotly's 1.9 MB under 6 MB
# what a figure on white paper turns into on dark
DARK = {
    **{"#ffffff": "#14171c", "#1f2937": "#e5e7eb", "#6b7280": "#9aa3b2", "#000000": "#f3f4f6"},
    **{"#e5e7eb": "#30363f", "#9ca3af": "#565f6c", "#047857": "#5fd3a6"},
}


def _shown(value: object) -> object:
    """What stands in for a value in the page: a text that is not ours is cut."""
    return cut(value, LONGEST) if type(value) is str else value


def template(name: str) -> jinja2.Template:
    """A file of this folder, in which every value is escaped and a missing one is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cut"] = cut
    return environment.get_template(name)


def _hash(script: str) -> str:
    """A script as a Content-Security-Policy names it."""
    return f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"


@cache
def _plotly() -> tuple[str, str]:
    """Packed, and its hash."""
    script = get_plotlyjs()
    return packed(script), _hash(script)


def _image(drawing: Drawing, folder: Path) -> Markup:
    """The figure as a data URI, in which dark paper has colours of its own."""
    svg = (folder / f"{drawing.stem}.svg").read_text()
    rules = "".join(
        f'[style*="{kind}: {light}"]{{{kind}:{dark}!important}}'
        for light, dark in DARK.items()
        for kind in ("fill", "stroke")
    )
    style = f"<style>@media screen and (prefers-color-scheme:dark){{{rules}}}</style>"
    themed = re.sub(r"(<svg[^>]*>)", rf"\1{style}", svg, count=1)
    # in double quotes an URI may hold all but these
    return Markup("data:image/svg+xml," + quote(themed, safe=" /:=,;()'!*?@+$-_.~[]{}"))


def _sections(parts: Sequence[Section], folder: Path) -> tuple[list[Markup], list[str]]:
    """Each machine and size in full while there is room, then without figures, then only named."""
    room, whole, left_out = SECTIONS_BYTES, [], []
    page = template("section.html.j2")
    for i, part in enumerate(parts, 1):
        for drawings in (part.drawings, []):
            images = {drawing.stem: _image(drawing, folder) for drawing in drawings}
            html = page.render(section=part, number=i, images=images)
            if len(html) <= room:
                room -= len(html)
                whole.append(Markup(html))
                break
        else:
            left_out.append(part.title)
    return whole, left_out


def _files(
    parts: Sequence[Section],
    found: Sequence[Finding],
    ratios: pd.DataFrame,
    extra: Sequence[Study],
) -> dict[str, str]:
    """The files beside the page that it can give away itself, by name."""
    files = {"claims.csv": csv_of(claims.table(found))}
    files["claims.md"] = claims.markdown(found)
    if len(ratios):
        files["peers.csv"] = csv_of(ratios)
    drawn = [drawing for part in parts for drawing in part.drawings]
    drawn += [drawing for study in extra for drawing in study.drawings]
    return files | {f"{one.stem}.csv": csv_of(one.data) for one in drawn}


def render(
    parts: Sequence[Section],
    found: Sequence[Finding],
    ratios: pd.DataFrame,
    unreadable: Sequence[str],
    folder: Path,
    extra: Sequence[Study] = (),
) -> str:
    """The page; `folder` holds the figures as build.write left them."""
    scripts = [(HERE / name).read_text() for name in ("tables.js", "page.js")]
    plotly, plotly_hash = _plotly()
    looks = styles(arch for part in parts for arch in part.archs)
    files = _files(parts, found, ratios, extra)
    data, lacking = payload(parts, looks, files, DATA_BYTES)
    sections, left_out = _sections(parts, folder)
    return template("page.html.j2").render(
        allowed=" ".join([*map(_hash, scripts), plotly_hash]),
        scripts=[Markup(script) for script in scripts],
        plotly=Markup(plotly),
        data=Markup(data),
        lacking=lacking,
        answers=[
            (part.title, told)
            for part in sorted(parts, key=lambda part: not part.opening)
            if (told := answer(part.found))
        ],
        sections=sections,
        studies=extra,
        images={d.stem: _image(d, folder) for study in extra for d in study.drawings},
        titles=[part.title for part in parts],
        left_out=left_out,
        claims=found,
        claims_title=claims.TITLE,
        claims_introduction=claims.INTRODUCTION,
        peers=None if ratios.empty else peers.text(ratios),
        peers_title=peers.TITLE,
        peers_explanation=peers.EXPLANATION,
        unreadable=unreadable,
    )
