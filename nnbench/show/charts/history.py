"""The chart of a history: a point for each run, the level of each stretch, and where it changes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import altair as alt

from nnbench.figures.metrics import Scale
from nnbench.show import history as texts
from nnbench.show.charts.base import NUMBER, Chart, cleaned, color_of, colors, tooltip
from nnbench.show.text import count, size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.runs.history import History, Point, Series
    from nnbench.show.charts.base import Record

HEIGHT = 300  #: pixels
MOST_LINES = 12  #: backends in a chart
#: P. Tol's "vibrant" red and teal, as far apart for the colour-blind as any two of his.
COLORS = {"worse": "#CC3311", "better": "#009988", "within the noise floor": "#888888"}
LINE, LINES = 15, 4  #: pixels, and how many texts stand below each other
ALONE = " with the 95% interval of its rounds"
BAND = "; in the band around it the change may lie as well"
MOST_NAMED = 8  #: runs on the axis
NAME_WIDTH = 150  #: pixels of a name there
FEW = 60  #: runs, of which every point can be large


def chart(history: History, series: Sequence[Series]) -> Chart:
    """Show some backends from run to run: one by its values, several by how far they are from their first level."""
    drawn = [each for each in series if each.points][:MOST_LINES]
    names = [each.backend for each in drawn]
    is_alone = len(drawn) == 1
    runs = _runs(drawn)
    is_relative = not is_alone and history.metric.scale is Scale.RATIO
    title = _title(history, is_relative=is_relative)
    points = [record for each in drawn for record in _points(history, each, runs, is_relative)]
    levels = [record for each in drawn for record in _levels(history, each, runs, is_relative)]
    steps = sorted(
        (record for each in drawn for record in _steps(history, each, runs, is_alone=is_alone)),
        key=lambda record: record["at"],
    )
    for place, record in enumerate(steps):
        record["line"] = LINE * (place % LINES)
    end = alt.Scale(domain=[0.5, len(runs) + 0.5], nice=False)
    axis = alt.Axis(title=_span(runs), grid=False, **_named(runs))
    x = alt.X("run:Q", scale=end, axis=axis)
    y = alt.Y("value:Q", scale=alt.Scale(zero=False), axis=alt.Axis(format=NUMBER, title=title))
    color = color_of(names, colors(each.backend for each in history.series), legend=not is_alone)
    base = alt.Chart(alt.NamedData("points")).encode(x=x, y=y, color=color)
    changed = alt.Chart(alt.NamedData("steps")).encode(color=alt.Color("color:N", scale=None))
    size = 45 if len(runs) <= FEW and is_alone else 18
    band = changed.mark_rect(fillOpacity=0.12).encode(x=alt.X("low:Q", scale=end), x2="high:Q")
    interval = base.mark_rule(opacity=0.35).encode(y="low:Q", y2="high:Q")
    layers = alt.layer(
        *([band] if is_alone else []),
        changed.mark_rule(strokeDash=[4, 3], strokeWidth=1.5).encode(
            x=alt.X("at:Q", scale=end),
            tooltip=tooltip("backend:N", "change:N", "between:N", "commits:N", "others:N"),
        ),
        *([interval] if is_alone else []),
        base.mark_point(filled=True, size=size, opacity=0.9 if is_alone else 0.6).encode(
            tooltip=tooltip(
                *("backend:N", "name:N", "date:N", "revision:N"),
                *(("shown:N", "", "value"), ("within:N", "", "95% interval"), "n:Q"),
            )
        ),
        alt.Chart(alt.NamedData("levels"))
        .mark_rule(strokeWidth=2.5, opacity=0.8)
        .encode(x="first:Q", x2="last:Q", y="value:Q", color=color),
        changed.mark_text(align="right", dx=-4, dy=9, fontWeight="bold").encode(
            x="at:Q", y=alt.Y("line:Q", scale=None), text="text:N"
        ),
    ).properties(height=HEIGHT)
    more = len([each for each in series if each.points]) - len(drawn)
    left_out = f" {more} more backends are not drawn." if more else ""
    return Chart(
        title=names[0] if is_alone else "All backends",
        caption=f"A point for each run{ALONE if is_alone else ''}, and the median of each stretch. A dashed line is a change of level, "
        f"red for the worse and green for the better{BAND if is_alone else ''}.{left_out}",
        layers=layers,
        records={"points": points, "levels": levels, "steps": steps},
    )


def subtitle(history: History) -> str:
    """Return what a picture needs to say of its runs."""
    runs = {point.folder for series in history.series for point in series.points}
    return f"{texts.heading(history)}, {count(len(runs), 'run')}"


def _title(history: History, *, is_relative: bool) -> str:
    name = history.metric.name
    if is_relative:
        return f"{name}: off the first level, %"
    match history.metric.scale:
        case Scale.RATIO:
            return f"{name} × {history.baseline}"
        case Scale.DIFFERENCE:
            return f"{name} − {history.baseline}, pp"


def _runs(series: Sequence[Series]) -> dict[object, Point]:
    """Return a point of each run, in order."""
    longest = sorted(series, key=lambda each: -len(each.points))
    found = {point.folder: point for each in longest for point in each.points}
    return dict(sorted(found.items(), key=lambda item: item[1].place))


def _span(runs: dict[object, Point]) -> str:
    first, *_, last = [*runs.values()] * 2
    return f"runs, from {first.date} to {last.date}"


def _named(runs: dict[object, Point]) -> dict[str, Any]:
    """Name the runs on the axis, or some of many at equal distances and the last one."""
    step = -(-len(runs) // MOST_NAMED)
    names = {number: point.folder.name for number, point in enumerate(runs.values(), start=1)}
    some = dict([*names.items()][::-step][::-1])
    texts, places = json.dumps(cleaned([*some.values()])), json.dumps([*some])
    return {
        "values": [*some],
        "labelExpr": f"{texts}[indexof({places}, datum.value)]",  # JSON is an expression, whatever is in a name
        "labelAngle": -60,
        "labelLimit": NAME_WIDTH,
        "labelOverlap": False,  # they are so few, and slanted, that none lies on another
    }


def _scaled(history: History, number: float, level: float, is_relative: bool) -> float:
    if is_relative:
        return (number / level - 1) * 100
    return number * (100 if history.metric.scale is Scale.DIFFERENCE else 1)


def _points(
    history: History, series: Series, runs: dict[object, Point], is_relative: bool
) -> list[Record]:
    """Return each run of a backend."""
    first, number = series.levels[0][2], {folder: i for i, folder in enumerate(runs, start=1)}
    return [
        {
            "backend": series.backend,
            "run": number[point.folder],
            "value": _scaled(history, point.value, first, is_relative),
            "low": point.interval and _scaled(history, point.interval.low, first, is_relative),
            "high": point.interval and _scaled(history, point.interval.high, first, is_relative),
            "name": point.folder.name,
            "date": point.date,
            "revision": point.revision or texts.UNKNOWN,
            "shown": texts.value(history.metric, point.value),
            "within": texts.within(history.metric, point.interval),
            "n": point.pairs,
        }
        for point in series.points
    ]


def _levels(
    history: History, series: Series, runs: dict[object, Point], is_relative: bool
) -> list[Record]:
    """Return each stretch of a backend, from half a run before it to half a run after it."""
    first, number = series.levels[0][2], {folder: i for i, folder in enumerate(runs, start=1)}
    return [
        {
            "backend": series.backend,
            "first": number[series.points[start].folder] - 0.5,
            "last": number[series.points[end - 1].folder] + 0.5,
            "value": _scaled(history, level, first, is_relative),
        }
        for start, end, level in series.levels
    ]


def _steps(
    history: History, series: Series, runs: dict[object, Point], *, is_alone: bool
) -> list[Record]:
    """Return each change of a backend, with what is to be said of it."""
    by = "" if is_alone else f"{series.backend} "
    number = {folder: i for i, folder in enumerate(runs, start=1)}

    def between(one: Point, other: Point) -> float:
        return (number[one.folder] + number[other.folder]) / 2

    return [
        {
            "backend": series.backend,
            "at": between(*step.points),
            "low": number[step.around[0].folder] + 0.0,
            "high": number[step.around[1].folder] + 0.0,
            "color": COLORS[step.verdict],
            "text": by + size(history.metric, step.size),
            "change": texts.change(history.metric, step),
            "between": " and ".join(f"{p.folder.name} ({p.revision})" for p in step.around),
            "commits": texts.commits(step) or "unknown",
            "others": ", ".join(step.others) or "nothing",
        }
        for step in series.steps
    ]
