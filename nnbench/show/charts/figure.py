"""What a figure is, and the encodings that all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import altair as alt

from nnbench.contract.errors import NnbenchError
from nnbench.show.charts import theme

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nnbench.show.source import Source

    Record = dict[str, Any]
    Chart = alt.Chart | alt.LayerChart | alt.FacetChart

ROW = 46  #: pixels for a backend: its name above, its marks below
NAME_LINE, MARK_LINE = -12, 9  #: pixels from the middle of a row
MARK_HEIGHT = 22
PADDING = 10  #: pixels between the marks and the ends of an axis
MOST_LINES = 12  #: backends in a chart of lines
LINES_HEIGHT = 300  #: pixels
LEGEND_WIDTH = 330  #: pixels that a phone has
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.split(".")[:2])  #: that Altair writes
NUMBER = ".3~r"  #: three significant digits, no exponent


class NothingToDrawError(NnbenchError):
    """A run has no figures for a chart; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A chart with its data, and what it takes to read it."""

    title: str
    caption: str
    chart: Chart
    records: dict[str, list[Record]]  #: the data, by the name that the chart has for it

    def spec(self, width: int | Literal["container"] = "container") -> dict[str, Any]:
        """Return the chart in Vega-Lite, without a configuration."""
        found = self.chart.properties(width=width).to_dict()
        del found["config"]
        if width == "container":
            found["autosize"] = {"type": "fit-x", "contains": "padding"}
        return {**found, "datasets": self.records}


def lines(source: Source) -> list[str]:
    """Return the backends that a chart of lines shows: the fastest dozen of those with figures."""
    names = [row.backend for row in source.ranked]
    if not names:
        raise NothingToDrawError(source.why_nothing())
    return names[:MOST_LINES]


def left_out(source: Source) -> str:
    """Say which backends a chart of lines does not show."""
    count = len(source.ranked)
    if count <= MOST_LINES:
        return ""
    return f" Only the {MOST_LINES} fastest of {count} backends are drawn."


def column(records: Sequence[Record], name: str) -> list[float | None]:
    """Return one field of all records."""
    return [record[name] for record in records]


def scale_of(values: Iterable[float | None]) -> alt.Scale:
    """Return a logarithmic scale where values span a decade, a linear one otherwise."""
    known = [value for value in values if value is not None]
    spans = bool(known) and min(known) > 0 and max(known) >= 10 * min(known)
    if spans:
        return alt.Scale(type="log", nice=False, padding=PADDING)
    return alt.Scale(zero=False, padding=PADDING)


def color_of(names: Sequence[str], colors: dict[str, str], *, legend: bool = False) -> alt.Color:
    """Encode backends by colour, with a legend that fits on a phone."""
    widest = max(map(len, names))
    columns = max(1, LEGEND_WIDTH // (40 + 7 * widest))
    look = alt.Legend(
        orient="top", title=None, columns=columns, offset=4, symbolOpacity=1, symbolStrokeWidth=3
    )
    scale = alt.Scale(domain=list(names), range=[colors[name] for name in names])
    return alt.Color("backend:N", scale=scale, legend=look if legend else None)


def shape_of(names: Sequence[str]) -> alt.Shape:
    """Encode backends by shape as well."""
    shapes = [theme.SHAPES[i % len(theme.SHAPES)] for i in range(len(names))]
    return alt.Shape("backend:N", scale=alt.Scale(domain=list(names), range=shapes))


def row_of(names: Sequence[str]) -> alt.Y:
    """Give every backend a row."""
    scale = alt.Scale(type="band", domain=list(names), padding=0)
    return alt.Y("backend:N", scale=scale, axis=None)


def row_bands(low: float, middle: float, high: float, data: str, y: alt.Y) -> list[alt.Chart]:
    """Mark the same place and its surroundings in every row."""
    base = alt.Chart(alt.NamedData(data)).encode(y=y)
    return [
        base.mark_bar(height=MARK_HEIGHT, yOffset=MARK_LINE, opacity=0.14).encode(
            x=alt.XDatum(low), x2=alt.X2Datum(high)
        ),
        base.mark_tick(height=MARK_HEIGHT, yOffset=MARK_LINE, opacity=0.7).encode(
            x=alt.XDatum(middle)
        ),
    ]


def row_texts(names: Sequence[str], data: str) -> list[alt.Chart]:
    """Write each backend's name, and the field ``text`` to the right, above its marks.

    Long names would leave no room for marks beside them on a phone.
    """
    base = alt.Chart(alt.NamedData(data)).encode(y=row_of(names))
    left = base.mark_text(align="left", dy=NAME_LINE, fontWeight="bold", limit=230)
    right = base.mark_text(align="right", dy=NAME_LINE)
    return [
        left.encode(x=alt.value(0), text="backend:N"),
        right.encode(x=alt.value("width"), text="text:N"),
    ]
