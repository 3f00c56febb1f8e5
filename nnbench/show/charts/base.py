"""What a chart is, the encodings that all of them share, how they look, and pictures of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import altair as alt

from nnbench import files
from nnbench.contract.errors import NnbenchError
from nnbench.show.charts import OF_A_KIND
from nnbench.show.text import count, threads, trained
from nnbench.texts import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from nnbench.runs.run import Run
    from nnbench.runs.sweep import Sweep
    from nnbench.show.charts import Theme

    Record = dict[str, Any]
    Layers = alt.Chart | alt.LayerChart | alt.FacetChart


#: P. Tol, "Colour schemes" (SRON/EPS/TN/09-002, issue 3.2, 2021): "vibrant" for backends, and two of "muted". His grey
#: and the last three are such that each of the twelve can be seen on both papers, by day and by night.
VIBRANT = ("#0077BB", "#EE7733", "#009988", "#EE3377", "#33BBEE", "#CC3311", "#AAAAAA")
FURTHER = ("#AA4499", "#117733", "#CCAA22", "#8C5A32", "#7B68C8")
BACKENDS = (*VIBRANT, *FURTHER)
PAGE = "currentColor"  #: of the text around a chart, so that it follows the page's theme
INK: dict[Theme, str] = {"light": "#1d232b", "dark": "#e6e9ee"}
PAPER: dict[Theme, str] = {"light": "#ffffff", "dark": "#14181e"}
FONT = "Inter, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
ROW = 46  #: pixels for a backend: its name above, its marks below
NAME_LINE, MARK_LINE = -12, 9  #: pixels from the middle of a row
MARK_HEIGHT = 22
PADDING = 10  #: pixels between the marks and the ends of an axis
LEGEND_WIDTH = 330  #: pixels that a phone has
VEGA_LITE = ".".join(alt.SCHEMA_VERSION.split(".")[:2])  #: that Altair writes
NUMBER = ".3~r"  #: three significant digits, no exponent
WIDTH = 560  #: pixels of the plot itself
TITLE_WIDTH = 2 * WIDTH  #: pixels of the lines above a picture, at most
SUFFIXES = (".png", ".svg")
BEYOND = re.compile("[\U00010000-\U0010ffff]")
MOST_PIXELS = 10**8  #: of a PNG; in memory each takes four bytes
SIDES = [re.compile(rf'^<svg\b[^>]*?\s{side}="([0-9.]+)"') for side in ("width", "height")]


class NothingToDrawError(NnbenchError):
    """A run has no figures for a chart; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A chart with its data, and what it takes to read it."""

    title: str
    caption: str
    layers: Layers
    records: dict[str, list[Record]]  #: the data, by the name that the chart has for it

    def spec(self, width: int | Literal["container"] = "container") -> dict[str, Any]:
        """Return the chart in Vega-Lite, without a configuration; what cannot be drawn is a space."""
        spec = self.layers.properties(width=width).to_dict()
        del spec["config"]
        if width == "container":
            spec["autosize"] = {"type": "fit-x", "contains": "padding"}
        drawable: dict[str, Any] = cleaned({**spec, "datasets": self.records})
        return drawable

    def alone(self, subtitle: str) -> dict[str, Any]:
        """Return the same with a title, as a picture that stands alone needs one."""
        title = cleaned({"text": self.title, "subtitle": subtitle})
        whole: dict[str, Any] = cleaned({**self.spec(WIDTH), "title": title}, without_halves)
        return whole


def cleaned(value: Any, clean: Callable[[str], str] = safe) -> Any:
    """Return what JSON can hold, with all texts in it as they may be shown."""
    match value:
        case str():
            return clean(value)
        case dict():
            return {cleaned(key, clean): cleaned(each, clean) for key, each in value.items()}
        case list() | tuple():
            return [cleaned(each, clean) for each in value]
        case _:
            return value


def without_halves(text: str) -> str:
    """Return a text without characters that JavaScript has in two halves: Vega may cut one where it cuts a text."""
    return BEYOND.sub("\N{REPLACEMENT CHARACTER}", text)


def column(records: Sequence[Record], name: str) -> list[float | None]:
    """Return one field of all records."""
    return [record[name] for record in records]


def scale_of(values: Iterable[float | None]) -> alt.Scale:
    """Return a logarithmic scale where values span a decade, a linear one otherwise."""
    if spans_a_decade(values):
        return alt.Scale(type="log", nice=False, padding=PADDING)
    return alt.Scale(zero=False, padding=PADDING)


def spans_a_decade(values: Iterable[float | None]) -> bool:
    """Tell whether values are so far apart that an axis is to be logarithmic."""
    known = [value for value in values if value is not None]
    return bool(known) and min(known) > 0 and max(known) >= 10 * min(known)


def color_of(names: Sequence[str], colors: dict[str, str], *, legend: bool = False) -> alt.Color:
    """Encode backends by colour, with a legend that fits on a phone."""
    widest = max(map(len, names))
    columns = max(1, LEGEND_WIDTH // (40 + 7 * widest))
    look = alt.Legend(
        orient="top", title=None, columns=columns, offset=4, symbolOpacity=1, symbolStrokeWidth=3
    )
    scale = alt.Scale(domain=list(names), range=[colors[name] for name in names])
    return alt.Color("backend:N", scale=scale, legend=look if legend else None)


def tooltip(*fields: str | tuple[str, ...]) -> list[alt.Tooltip]:
    """Show fields when pointed at; a tuple has the format too, and perhaps a title."""
    names, shown = ("shorthand", "format", "title"), []
    for field in fields:
        parts = (field,) if isinstance(field, str) else field
        options: dict[str, Any] = dict(zip(names, parts, strict=False))
        shown.append(alt.Tooltip(**options))
    return shown


def row_of(names: Sequence[str]) -> alt.Y:
    """Give every backend a row."""
    scale = alt.Scale(type="band", domain=list(names), padding=0)
    return alt.Y("backend:N", scale=scale, axis=None)


def in_rows(names: Sequence[str], data: str, *marks: alt.Chart) -> Layers:
    """Draw marks in rows; above them stand the backend's name and, to the right, the field ``text``.

    Long names would leave no room for marks beside them on a phone.
    """
    base = alt.Chart(alt.NamedData(data)).encode(y=row_of(names))
    left = base.mark_text(align="left", dy=NAME_LINE, fontWeight="bold", limit=230)
    right = base.mark_text(align="right", dy=NAME_LINE)
    texts = (
        left.encode(x=alt.value(0), text="backend:N"),
        right.encode(x=alt.value("width"), text="text:N"),
    )
    return alt.layer(*marks, *texts).properties(height=ROW * len(names))


def bands(
    names: Sequence[str], data: str, low: float, middle: float, high: float
) -> tuple[alt.Chart, alt.Chart]:
    """Mark the same place and its surroundings in every row."""
    base = alt.Chart(alt.NamedData(data)).encode(y=row_of(names))
    bar = base.mark_bar(height=MARK_HEIGHT, yOffset=MARK_LINE, opacity=0.14)
    tick = base.mark_tick(height=MARK_HEIGHT, yOffset=MARK_LINE, opacity=0.7)
    return (
        bar.encode(x=alt.XDatum(low), x2=alt.X2Datum(high)),
        tick.encode(x=alt.XDatum(middle)),
    )


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
            **{f"{part}Color": ink for part in ("label", "title", "domain", "tick", "grid")},
            **{f"{part}FontSize": 12 for part in ("label", "title")},
            **{f"{part}Opacity": 0.4 for part in ("domain", "tick")},
            "gridOpacity": 0.12,
            "labelSeparation": 6,
            "labelOverlap": "greedy",
            "titleFontWeight": "normal",
            "titlePadding": 8,
        },
        "legend": {"labelColor": ink, "labelFontSize": 12, "labelLimit": 300, "symbolSize": 90},
        "text": {"color": ink, "fontSize": 12},
        "header": {"labelColor": ink, "labelFontSize": 12},
        **{mark: {"color": ink} for mark in ("rule", "bar", "tick")},
        "title": {
            "color": ink,
            "fontSize": 16,
            "anchor": "start",
            "frame": "group",
            "offset": 14,
            "subtitleColor": ink,
            "subtitleFontSize": 12,
            "subtitlePadding": 5,
            "limit": TITLE_WIDTH,
        },
    }


def check_suffix(path: Path) -> None:
    """Refuse a file name of another format; what is no regular file gets an SVG.

    Raises
    ------
    NnbenchError
        If the suffix is not known.
    """
    if path.suffix.lower() not in SUFFIXES and not files.is_stream(path):
        known = " or ".join(SUFFIXES)
        raise NnbenchError(f"cannot draw {path}: the name must end with {known}")


def refuse_unlike(run: Run, figure: str) -> None:
    """Refuse to draw what is a machine's own of unlike machines.

    Raises
    ------
    NnbenchError
        If so; the message says of which machines it can be drawn.
    """
    if figure in OF_A_KIND and run.is_mixed:
        ways = (f"{next(iter(part.info.machines))} ({kind})" for kind, part in run.kinds.items())
        text = "is not drawn of unlike machines together; choose some by --machine"
        raise NnbenchError(f"the figure {figure} {text}: {' or '.join(ways)}")


def draw(
    chart: Chart, path: Path, subtitle: str, look: Theme = "light", scale: float = 2.0
) -> None:
    """Write a chart to a file.

    Parameters
    ----------
    chart
        What to draw.
    path
        Its suffix says the format; without one that is known, it is SVG.
    subtitle
        What was run, since a picture stands alone.
    look
        Dark text on white, or light text on black.
    scale
        Pixels of a PNG for each of the chart's; an SVG has none.

    Raises
    ------
    ResultsError
        If the file cannot be written.
    NnbenchError
        If the picture would be too large.
    """
    import vl_convert

    options: dict[str, Any] = {
        "vl_version": VEGA_LITE,
        "config": config(INK[look], PAPER[look]) | {"padding": 16},
        "allowed_base_urls": [],
    }
    picture = vl_convert.vegalite_to_svg(chart.alone(subtitle), **options)
    content = picture.encode()
    if path.suffix.lower() == ".png":
        require_room(picture, scale)
        content = vl_convert.svg_to_png(picture, scale=scale)
    files.write_output(path, content)


def require_room(picture: str, scale: float) -> None:
    """Refuse a PNG that is too large: what draws it would end this process.

    Raises
    ------
    NnbenchError
        If so.
    """
    sides = [side.search(picture) for side in SIDES]
    width, height = (scale * float(found[1]) for found in sides if found)
    if width * height > MOST_PIXELS:
        size = f"{width:,.0f} × {height:,.0f} pixels"
        raise NnbenchError(
            f"a PNG of {size} is too large: give a smaller --scale, or a name that ends with .svg"
        )


def subtitle(run: Run) -> str:
    """Return what a picture needs to say of its run."""
    info = run.info
    where = [run.used.environment.cpu, *run.used.environment.gpus]
    if run.is_mixed:
        where = ["; ".join(run.kinds)]
    rounds = count(info.rounds, "round")
    return ", ".join([info.workload.name, rounds, threads(info), *where])


def subtitle_of(run: Sweep) -> str:
    """Return the same of a run with all of its points."""
    info, used = run.info, run.runs[0].used.environment
    where = [used.cpu, *used.gpus]
    return ", ".join([trained(info), count(info.rounds, "round"), threads(info), *where])
