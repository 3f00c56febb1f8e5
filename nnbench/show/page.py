"""The page: one HTML file that needs nothing else, not even a network.

Whatever comes from a run is escaped by Jinja's autoescape, in the charts' JSON too. A content
security policy lets the browser run the page's own scripts, known by their hashes, and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from nnbench.show import facts, headline
from nnbench.show.charts import theme
from nnbench.show.charts.figure import VEGA_LITE, NothingToDrawError
from nnbench.show.charts.figures import FIGURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.show.charts.figure import Figure
    from nnbench.show.source import Source

TEMPLATES = "templates"


@dataclass(frozen=True, slots=True)
class Section:
    """A run on the page."""

    source: Source
    headline: headline.Headline
    figures: dict[str, Figure]
    missing: dict[str, str]  #: figures that cannot be drawn, and why


def render(sources: Sequence[Source]) -> str:
    """Return the page of some runs."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nnbench.show", TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    colors = theme.colors(label for source in sources for label in source.info.backends)
    scripts = [_for_html(text) for text in (_libraries(), _read("report.js"))]
    return environment.get_template("report.html.j2").render(
        sections=[section(source, colors) for source in sources],
        colors=colors,
        config=theme.config(theme.PAGE),
        style=_read("report.css"),
        scripts=scripts,
        hashes=[_hash(text) for text in scripts],
        facts=facts,
    )


def section(source: Source, colors: dict[str, str]) -> Section:
    """Draw the figures of a run."""
    figures, missing = {}, {}
    for name, draw in FIGURES.items():
        try:
            figures[name] = draw(source, colors)
        except NothingToDrawError as error:
            missing[name] = str(error)
    return Section(source, headline.write(source), figures, missing)


@cache
def _libraries() -> str:
    """Return Vega, Vega-Lite and what joins them to a page."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)


def _read(name: str) -> str:
    return files("nnbench.show").joinpath(TEMPLATES, name).read_text("utf-8")


def _for_html(script: str) -> str:
    """Keep a string in a script from ending the script."""
    return re.sub("</(?=script)", r"<\\/", script, flags=re.IGNORECASE)


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
