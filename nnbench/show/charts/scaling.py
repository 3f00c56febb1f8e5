"""The chart of a sweep: the time of each backend along an axis of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import altair as alt

from nnbench.runs import scaling
from nnbench.show.charts.base import (
    NUMBER,
    PADDING,
    Chart,
    NothingToDrawError,
    cleaned,
    color_of,
    tooltip,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.runs.scaling import Panel
    from nnbench.runs.sweep import Sweep
    from nnbench.show.charts.base import Layers, Record

HEIGHT = 300  #: pixels of a panel that stands alone
SMALL = 190  #: pixels of one beside others, either way
IN_A_ROW = 4  #: panels of a picture
BAND = (
    "The band is the 95% interval of the median of the rounds, as far as it lies within the picture"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panels(Chart):
    """A picture of several panels, which have a size of their own."""

    def spec(self, width: int | Literal["container"] = "container") -> dict[str, Any]:
        """Return the chart in Vega-Lite; panels do not follow the width of a page."""
        del width
        spec = self.layers.to_dict()
        del spec["config"]
        drawable: dict[str, Any] = cleaned({**spec, "datasets": self.records})
        return drawable


def chart(run: Sweep, colors: dict[str, str]) -> Chart:
    """Show all panels of a sweep in one picture."""
    drawn = charts(run, colors)
    if len(drawn) == 1:
        return drawn[0]
    panels = scaling.panels(run)
    records = [record for panel in panels for record in scaling.records(panel)]
    titles = [panel.title for panel in panels]
    facet = alt.Facet("panel:N", sort=titles, header=alt.Header(title=None))
    # The data is that of the facet, which hands each panel its own.
    layers: Any = _layers(alt.Chart(), panels[0].axis, records, colors)
    layers = layers.properties(width=SMALL, height=SMALL)
    return Panels(
        title=_title(panels[0].axis),
        caption=f"{BAND}.",
        layers=layers.facet(facet=facet, columns=IN_A_ROW, data=alt.NamedData("points")),
        records={"points": records},
    )


def charts(run: Sweep, colors: dict[str, str]) -> list[Chart]:
    """Show each panel of a sweep.

    Raises
    ------
    NothingToDrawError
        If there is no axis of numbers, or nothing was measured along it.
    """
    panels = scaling.panels(run)
    if not panels:
        raise NothingToDrawError("no axis of the run has several numbers")
    drawn = [_chart(panel, colors) for panel in panels if scaling.records(panel)]
    if not drawn:
        raise NothingToDrawError(run.why_nothing())
    return drawn


def _chart(panel: Panel, colors: dict[str, str]) -> Chart:
    records = scaling.records(panel)
    layers = _layers(alt.Chart(alt.NamedData("points")), panel.axis, records, colors)
    return Chart(
        title=", ".join(filter(None, [_title(panel.axis), panel.title])),
        caption=f"Both axes are logarithmic. {BAND}.",
        layers=layers.properties(height=HEIGHT),
        records={"points": records},
    )


def _title(axis: str) -> str:
    return f"Seconds an epoch along {axis.replace('_', ' ')}"


def _layers(of: alt.Chart, axis: str, records: Sequence[Record], colors: dict[str, str]) -> Layers:
    names = list(dict.fromkeys(record["backend"] for record in records))
    places = sorted({record["place"] for record in records})
    ends = [record[end] for record in records for end in ("fastest", "slowest")]
    across = alt.Scale(type="log" if places[0] > 0 else "linear", nice=False, padding=PADDING)
    up = alt.Scale(type="log", domain=[min(ends) / 1.1, max(ends) * 1.1], nice=False)
    ticks = alt.Axis(values=places, format="~r", grid=False, title=axis.replace("_", " "))
    base = of.encode(
        x=alt.X("place:Q", scale=across, axis=ticks),
        color=color_of(names, colors, legend=True),
    )
    y = alt.Y("seconds:Q", scale=up, axis=alt.Axis(format=NUMBER, title="train s/epoch"))
    band = base.mark_area(opacity=0.15, clip=True, line=False)
    shown = tooltip(
        *("backend:N", ("place:Q", "~r", axis.replace("_", " ")), ("seconds:Q", NUMBER, "s/epoch")),
        *(("low:Q", NUMBER, "95% from"), ("high:Q", NUMBER, "to"), "n:Q", "rank:N"),
    )
    return alt.layer(
        band.encode(y=alt.Y("low:Q", scale=up), y2="high:Q"),
        base.mark_line(clip=True).encode(y=y),
        base.mark_point(filled=True, size=45, opacity=1, clip=True).encode(y=y, tooltip=shown),
    )
