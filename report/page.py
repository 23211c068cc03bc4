"""One page that a person opens: figures, how to read them, tables, where it all came from."""

from collections.abc import Sequence
from pathlib import Path

import jinja2

from report.build import Section

HERE = Path(__file__).parent


def render(parts: Sequence[Section], unreadable: Sequence[str]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("page.html.j2")
    return template.render(sections=parts, unreadable=unreadable)
