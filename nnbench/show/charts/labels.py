"""Labels above a chart: each is joined by a line to the point that it names, and none lies on another.

A label ends at its line, to the left of it. Where its text would lie on the line of another label, it
stands in a row above that one's; so no line crosses a text either. Rows are those of a phone: a wider
plot only draws the labels apart.
"""

from __future__ import annotations

from math import exp, log
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

import altair as alt

from nnbench.show.charts.base import spans_a_decade

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nnbench.show.charts.base import Record

PLOT = 270  #: pixels of a plot on a phone, without its axis
MARGIN = 36  #: pixels of that axis, above which a label may begin
CHARACTER = 6.8  #: pixels, of the letters that are drawn
GAP = 5  #: pixels between a text and its line
ROW = 15  #: pixels
LONGEST = 20  #: characters of a name
ROOM = 0.03  #: at each end of an axis, of its length


class Span(NamedTuple):
    """What an axis covers: it is logarithmic where its values span a decade."""

    low: float
    high: float
    is_log: bool

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """Cover some values, with a little room at both ends; at least one must be there."""
        known = list(values)
        found = cls(min(known), max(known), spans_a_decade(known))
        low, high = found.at(-ROOM), found.at(1 + ROOM)
        return cls(low, high, found.is_log) if low < high else cls(low - 1, high + 1, is_log=False)

    def share(self, value: float) -> float:
        """Return how far along the axis a value is, as a share of its length."""
        if self.is_log:
            return log(value / self.low) / log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def at(self, share: float) -> float:
        """Return the value that is so far along."""
        if self.is_log:
            return self.low * exp(share * log(self.high / self.low))
        return self.low + share * (self.high - self.low)

    def beginning(self, value: float, share: float) -> Self:
        """Return the same up to its end, which begins so much earlier that a value is at least so far along."""
        own = self.share(value)
        return self if own >= share else self._replace(low=self.at((own - share) / (1 - share)))

    def scale(self, **options: Any) -> alt.Scale:
        """Return it as Altair has it."""
        kind: Literal["log", "linear"] = "log" if self.is_log else "linear"
        return alt.Scale(type=kind, domain=[self.low, self.high], nice=False, **options)


def short(name: str) -> str:
    """Return a name without its middle if it is long: what tells variants apart is at the end."""
    half = LONGEST // 2
    return name if len(name) <= LONGEST else f"{name[: half - 1]}…{name[-half:]}"


def width(text: str) -> float:
    """Return how many pixels a text takes, and the gap between it and its line."""
    return CHARACTER * len(text) + GAP


def room_for(span: Span, labels: Iterable[tuple[float, str]]) -> Span:
    """Return an axis on which each text has room to the left of its value."""
    for value, text in labels:
        span = span.beginning(value, max(0.0, width(text) - MARGIN) / PLOT)
    return span


def rows(places: Sequence[float], texts: Sequence[str]) -> list[int]:
    """Return the row of each label, 0 just above the plot.

    Parameters
    ----------
    places, texts
        Where each points, as a share of the plot's width, from the left to the right; and its text.
    """
    found: list[int] = []
    for place, text in zip(places, texts, strict=True):
        start = place - width(text) / PLOT
        below = (row for other, row in zip(places, found, strict=False) if other >= start)
        found.append(1 + max(below, default=-1))
    return found


def layers(data: str, x: alt.X, color: alt.Color, tooltip: list[alt.Tooltip]) -> list[alt.Chart]:
    """Draw labels: records with ``text``, what ``x`` encodes, and ``top`` and ``bottom`` of the line in pixels."""
    base = alt.Chart(alt.NamedData(data)).encode(x=x, tooltip=tooltip)
    top = alt.Y("top:Q", scale=None)
    return [
        base.mark_rule(strokeWidth=1).encode(y=top, y2="bottom:Q", color=color),
        base.mark_point(filled=True, size=45, opacity=1).encode(
            y=alt.Y("bottom:Q", scale=None), color=color
        ),
        base.mark_text(align="right", baseline="top", dx=-GAP + 1, fontSize=11).encode(
            y=top, text="text:N"
        ),
    ]


def placed(labels: Sequence[Record], span: Span) -> int:
    """Give each label its ``top``, from where it points, ``seconds``, and its text; return the height of all rows.

    They are put in order, from the left to the right.
    """
    ordered = sorted(labels, key=lambda label: label["seconds"])
    places = [span.share(label["seconds"]) for label in ordered]
    found = rows(places, [label["text"] for label in ordered])
    high = 1 + max(found, default=-1)
    for label, row in zip(ordered, found, strict=True):
        label["top"] = ROW * (high - 1 - row)
    return ROW * high
