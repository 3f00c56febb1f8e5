"""A history as text: a table for each backend, what has changed, and one record for each point."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from nnbench.figures.columns import MISSING, significant
from nnbench.figures.metrics import Scale
from nnbench.show.text import Sheet, bullets, count, escape, markdown_block, size

if TYPE_CHECKING:
    from nnbench.figures.metrics import Metric
    from nnbench.figures.statistics import Interval
    from nnbench.runs.history import History, Point, Series, Step

MOST_COMMITS = 5  #: that a sentence names
UNKNOWN = "unknown revision"


def heading(history: History) -> str:
    """Say what is looked at, in a few words."""
    info = history.info
    threads = count(info.threads, "thread")
    return f"{history.metric.name} {_unit(history)}, {info.workload.name}, {threads}"


def _unit(history: History) -> str:
    match history.metric.scale:
        case Scale.RATIO:
            return f"× {history.baseline}"
        case Scale.DIFFERENCE:
            return f"− {history.baseline}, pp"
        case unknown:
            assert_never(unknown)


def sheet(history: History, series: Series) -> Sheet:
    """Return the points of a backend as a table; a change stands at the first one after it."""
    steps = {step.change.at: step for step in series.steps}
    headings = ["run", "date", "revision", _unit(history), "95% interval", "n", "change"]
    rows = [
        [
            point.folder.name,
            point.date,
            point.revision or MISSING,
            value(history.metric, point.value),
            within(history.metric, point.interval),
            str(point.pairs),
            change(history.metric, steps[number]) if number in steps else "",
        ]
        for number, point in enumerate(series.points)
    ]
    return Sheet(f"{series.backend}: {heading(history)}", headings, rows)


def value(metric: Metric, number: float) -> str:
    """Write a value of a series."""
    match metric.scale:
        case Scale.RATIO:
            return significant(number)
        case Scale.DIFFERENCE:
            return f"{100 * number:+z.2f}"
        case unknown:
            assert_never(unknown)


def within(metric: Metric, interval: Interval | None) -> str:
    """Write both ends of an interval."""
    if interval is None:
        return MISSING
    return f"{value(metric, interval.low)} to {value(metric, interval.high)}"


def change(metric: Metric, step: Step) -> str:
    """Write a change in a few words."""
    return f"{size(metric, step.size)}, {step.verdict}"


def sentence(history: History, series: Series, step: Step) -> str:
    """Say all of a change: how much, how surely, between which runs, by which commits, and what else changed there."""
    metric = history.metric
    sure = [f"p {step.change.p_value:.4f}"]
    if step.interval:
        ends = (size(metric, end) for end in (step.interval.low, step.interval.high))
        sure.insert(0, f"95% interval {' to '.join(ends)}")
    where = f"between {_run(step.points[0])} and {_run(step.points[1])}"
    if step.around != step.points:
        where += f", or else between {_run(step.around[0])} and {_run(step.around[1])}"
    parts = [
        f"the {metric.name} of {series.backend} changed by {change(metric, step)} ({', '.join(sure)}), {where}",
        commits(step),
        f"what else differs there: {', '.join(step.others)}" if step.others else "",
    ]
    return "; ".join(filter(None, parts))


def _run(point: Point) -> str:
    return f"{point.folder.name} ({point.revision or UNKNOWN})"


def commits(step: Step) -> str:
    """Name the commits between two runs, or the first of many; nothing if git does not know them."""
    if step.commits is None:
        return ""
    if not step.commits:
        return "no commit lies between"
    words = [f"{each.revision} {each.subject}" for each in step.commits[:MOST_COMMITS]]
    if more := len(step.commits) - MOST_COMMITS:
        words += [f"{more} more"] if more > 0 else []
    return f"{count(len(step.commits), 'commit')} between: {', '.join(words)}"


def sentences(history: History) -> list[str]:
    """Say all changes, or that there is none."""
    found = [sentence(history, series, step) for series in history.series for step in series.steps]
    return found or ["no change was found"]


def worse(history: History) -> list[str]:
    """Say the changes for the worse that the latest runs lie after."""
    return [
        sentence(history, series, series.steps[-1]) for series in history.series if series.is_worse
    ]


def notes(history: History) -> list[str]:
    """Say what limits that: of the series, and of the runs."""
    alike: dict[str, list[str]] = {}
    for series in history.series:
        for remark in series.remarks:
            alike.setdefault(remark, []).append(series.backend)
    return [*(f"{', '.join(names)}: {remark}" for remark, names in alike.items()), *history.notes]


def markdown(history: History) -> str:
    """Return all as Markdown: what has changed above the tables, notes below them."""
    blocks = [
        bullets(map(escape, sentences(history))),
        *(markdown_block(sheet(history, series)) for series in history.series if series.points),
        bullets(map(escape, notes(history))),
    ]
    return "\n\n".join(filter(None, blocks))


def records(history: History) -> list[dict[str, object]]:
    """Return one record for each point, as plain values; a change is in that of the first point after it."""
    return [
        {
            "backend": series.backend,
            "metric": history.metric.name,
            "baseline": history.baseline,
            "workload": point.info.workload.name,
            "run": str(point.folder),
            "started": point.info.started,
            "revision": point.revision or None,
            "value": point.value,
            "low": point.interval and point.interval.low,
            "high": point.interval and point.interval.high,
            "pairs": point.pairs,
            "level": next(level for first, end, level in series.levels if first <= number < end),
            **_record(history, series, steps.get(number)),
        }
        for series in history.series
        for steps in [{step.change.at: step for step in series.steps}]
        for number, point in enumerate(series.points)
    ]


def _record(history: History, series: Series, step: Step | None) -> dict[str, object]:
    """Return what a record has of a change."""
    return {
        "change": step and step.size,
        "change_low": step and step.interval and step.interval.low,
        "change_high": step and step.interval and step.interval.high,
        "p_value": step and step.change.p_value,
        "verdict": step and step.verdict,
        "earliest": step and str(step.around[0].folder),
        "latest": step and str(step.around[1].folder),
        "message": sentence(history, series, step) if step else "",
    }
