"""One page that a person opens: figures, how to read them, tables, where it all came from."""

from collections.abc import Sequence
from pathlib import Path

import jinja2
import pandas as pd

from report import claims, peers
from report.build import Section
from report.claims import Finding

HERE = Path(__file__).parent


def template(name: str) -> jinja2.Template:
    """A file of this folder, in which every value is escaped and a missing one is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def render(
    parts: Sequence[Section],
    found: Sequence[Finding],
    ratios: pd.DataFrame,
    unreadable: Sequence[str],
) -> str:
    return template("page.html.j2").render(
        sections=parts,
        claims=found,
        claims_title=claims.TITLE,
        claims_introduction=claims.INTRODUCTION,
        peers=None if ratios.empty else peers.text(ratios),
        peers_title=peers.TITLE,
        peers_explanation=peers.EXPLANATION,
        unreadable=unreadable,
    )
