"""One page that a person opens: figures, how to read them, tables, where it all came from."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
import pandas as pd

from report import peers
from report.build import Section

HERE = Path(__file__).parent


def render(parts: Sequence[Section], ratios: pd.DataFrame, unreadable: Sequence[str]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    return template.render(
        sections=parts,
        peers=None if ratios.empty else peers.text(ratios),
        peers_title=peers.TITLE,
        peers_explanation=peers.EXPLANATION,
        unreadable=unreadable,
    )
