"""Colours that the colour-blind can tell apart, and how charts look by day and by night."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Theme = Literal["light", "dark"]

#: P. Tol, "Colour schemes" (SRON/EPS/TN/09-002, issue 3.2, 2021): "vibrant" for backends, and from
#: "muted" for those beyond seven ...
VIBRANT = ("#0077BB", "#EE7733", "#009988", "#EE3377", "#33BBEE", "#CC3311", "#BBBBBB")
MUTED = ("#882255", "#117733", "#DDCC77", "#AA4499", "#999933")
BACKENDS = (*VIBRANT, *MUTED)
#: ... and "light", on which dark text can be read, for phases.
PHASES = ("#99DDFF", "#77AADD", "#EE8866", "#44BB99", "#BBBBBB")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross")
PAGE = "currentColor"  #: of the text around a chart, so that it follows the page's theme
INK: dict[Theme, str] = {"light": "#1d232b", "dark": "#e6e9ee"}
PAPER: dict[Theme, str] = {"light": "#ffffff", "dark": "#14181e"}
FONT = "Inter, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def colors(labels: Iterable[str]) -> dict[str, str]:
    """Give each backend a colour; there are twelve, then they come again."""
    return {label: BACKENDS[i % len(BACKENDS)] for i, label in enumerate(dict.fromkeys(labels))}


def config(ink: str, paper: str = "transparent") -> dict[str, object]:
    """Return Vega-Lite's configuration for text and lines of a colour."""
    return {
        "background": paper,
        "font": FONT,
        "padding": 4,
        "view": {"stroke": None},
        "axis": {
            "labelColor": ink,
            "labelFontSize": 12,
            "labelSeparation": 6,
            "labelOverlap": "greedy",
            "titleColor": ink,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 8,
            "domainColor": ink,
            "domainOpacity": 0.4,
            "tickColor": ink,
            "tickOpacity": 0.4,
            "gridColor": ink,
            "gridOpacity": 0.12,
        },
        "legend": {"labelColor": ink, "labelFontSize": 12, "labelLimit": 300, "symbolSize": 90},
        "text": {"color": ink, "fontSize": 12},
        "rule": {"color": ink},
        "bar": {"color": ink},
        "tick": {"color": ink},
        "title": {
            "color": ink,
            "fontSize": 16,
            "anchor": "start",
            "frame": "group",
            "offset": 14,
            "subtitleColor": ink,
            "subtitleFontSize": 12,
            "subtitlePadding": 5,
        },
    }
