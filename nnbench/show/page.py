"""The page: one HTML file that needs nothing else, not even a network.

Whatever comes from a run is cleaned, and escaped by Jinja's autoescape, in the charts' JSON too. A content
security policy lets the browser run the page's own scripts, known by their hashes, and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple, assert_never

from nnbench.figures import frames
from nnbench.figures.axes import described
from nnbench.figures.columns import MISSING, Table, column, machine_names, significant, value
from nnbench.runs import scaling
from nnbench.show.charts import CHARTS, OF_A_KIND, base, chart
from nnbench.show.charts.base import VEGA_LITE, NothingToDrawError
from nnbench.show.text import (
    Sheet,
    how,
    notes,
    outputs,
    places_of,
    sheet,
    sheets,
    times_as_fast,
    trained,
)
from nnbench.texts import one_line

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from jinja2 import Environment

    from nnbench.figures.columns import Column, Row
    from nnbench.records.runs import RunInfo
    from nnbench.runs.history import History
    from nnbench.runs.run import Run
    from nnbench.runs.sweep import Sweep
    from nnbench.show.charts.base import Chart

TEMPLATES = "templates"

#: Columns of the table below the headline, what is asked first first; the interval stands behind its figure, and the
#: reason for no rank in place of the verdict.
SUMMARY = (
    *(
        "backend",
        "speedup",
        "verdict",
        "train_s_per_epoch",
        "accuracy",
        "target_reached",
        "target_s",
    ),
    *("rank", "rounds", "proof"),
)


class Headline(NamedTuple):
    """The first thing on the page."""

    title: str
    text: str


def render(runs: Sequence[Sweep], *, home: str = "") -> str:
    """Return the page of some runs, with a section for each of their points; ``home`` is what it links as the page of all runs, if it is one of a site."""
    colors = base.colors(label for run in runs for label in run.labels)
    sections = [section(point, colors) for run in runs for point in run]
    sweeps = [overview(run, colors) for run in runs if run.runs[1:]]
    return make("report.html.j2", colors=colors, home=home, sections=sections, sweeps=sweeps)


def overview(run: Sweep, colors: dict[str, str]) -> dict[str, object]:
    """Return what stands above the sections of a run's points: its times along an axis, and where backends cross."""
    from nnbench.show.charts import scaling as drawing

    try:
        drawn = drawing.charts(run, colors)
    except NothingToDrawError:
        drawn = []
    return {
        "name": run.name,
        "info": run.info,
        "title": trained(run.info),
        "crossings": scaling.sentences(run),
        "charts": drawn,
    }


def render_history(history: History, *, home: str = "") -> str:
    """Return the page of a history: all backends in a chart, then each in one of its own, and their tables."""
    from nnbench.show import history as texts
    from nnbench.show.charts.history import chart

    drawn = [series for series in history.series if series.points]
    groups = [drawn, *([series] for series in drawn)] if drawn[1:] else [drawn]
    return make(
        "history.html.j2",
        colors=base.colors(series.backend for series in history.series),
        home=home,
        history=history,
        heading=texts.heading(history),
        charts=[chart(history, group) for group in groups],
        sheets=[texts.sheet(history, series) for series in drawn],
        changes=texts.sentences(history),
        notes=texts.notes(history),
    )


def make(template: str, *, has_charts: bool = True, **values: object) -> str:
    """Return a page, with what all of them have: without charts it is a hundredth as large."""
    scripts, hashes = _scripts(has_charts=has_charts)
    return (
        _environment()
        .get_template(template)
        .render(
            **values,
            config=base.config(base.PAGE),
            style=_read("report.css"),
            scripts=scripts,
            hashes=hashes,
        )
    )


@cache
def _environment() -> Environment:
    """Return what renders templates, which it compiles once."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("nnbench.show", TEMPLATES),
        autoescape=True,
        finalize=lambda value: one_line(value) if type(value) is str else value,  # not of markup
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _scripts(*, has_charts: bool) -> tuple[list[str], list[str]]:
    """Return the scripts of a page, and what its policy knows them by."""
    scripts = [  # in which no string ends the script
        re.sub("</(?=script)", r"<\\/", text, flags=re.IGNORECASE)
        for text in ([_libraries()] if has_charts else []) + [_read("report.js")]
    ]
    digests = (hashlib.sha256(text.encode()).digest() for text in scripts)
    return scripts, [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]


class Figures(NamedTuple):
    """Charts of a run, or of its part on machines of one kind."""

    title: str  #: empty of a run
    where: str
    times: Sheet | None  #: the table of those, of a part
    charts: dict[str, Chart]
    missing: dict[str, str]  #: why there is none


def section(run: Run, colors: dict[str, str]) -> dict[str, object]:
    """Return what the template shows of a run: its charts, and what there is to say."""
    remarked: dict[str, list[str]] = {}
    for row in run.measured:
        if row.remarks:
            remarked.setdefault(row.remarks, []).append(row.backend)
    remarks = [f"{', '.join(backends)}: {text}" for text, backends in remarked.items()]
    return {
        "run": run,
        "point": described(run.setting),
        "headline": headline(run),
        "summary": summary(run),
        "how": how(run.info),
        "where": places_of(run),
        "figures": figures(run, colors),
        "sheets": [sheet for sheet in sheets(run).values() if sheet.rows],
        "problems": [*notes(run), *remarks],
        "facts": facts(run),
    }


def figures(run: Run, colors: dict[str, str]) -> list[Figures]:
    """Draw a run: of several kinds of machines, what is a machine's own is drawn of each."""
    parts: list[tuple[str, Run, Collection[str]]] = [("", run, CHARTS)]
    if run.is_mixed:
        own = [name for name in CHARTS if name in OF_A_KIND]
        parts = [("", run, [name for name in CHARTS if name not in own])]
        parts += [(kind, part, own) for kind, part in run.kinds.items()]
    found = []
    for title, part, names in parts:
        drawn, missing = {}, {}
        for name in names:
            try:
                drawn[name] = chart(name)(part, colors)
            except NothingToDrawError as error:
                missing[name] = str(error)
        where = machine_names([*part.info.machines]) if title else ""
        tables = (t for t in run.tables if title and (t.name, t.kind) == ("timing", title))
        found.append(Figures(title, where, next(map(sheet, tables), None), drawn, missing))
    return found


@cache
def _libraries() -> str:
    """Return Vega, Vega-Lite and what joins them to a page."""
    import vl_convert

    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", VEGA_LITE)


def _read(name: str) -> str:
    return files("nnbench.show").joinpath(TEMPLATES, name).read_text("utf-8")


def summary(run: Run) -> Sheet:
    """Return the columns that matter most of all tables, a row for each backend."""
    kept = {c.name for table in run.tables if not table.kind for c in table.columns}
    columns = {name: column(run.info, name) for name in SUMMARY if name in kept}
    speedup = columns["speedup"]._replace(heading=f"times as fast as {run.info.baseline}")
    columns["speedup"] = with_interval(speedup, column(run.info, "speedup_interval"))
    return sheet(Table("", list(columns.values())), run.frame)


def with_interval(figure: Column, interval: Column) -> Column:
    """Return the column of a figure with its interval behind it, so that a line can break only between the two."""

    def joined(row: Row) -> str:
        within = interval.text(row).replace(" ", "\N{NO-BREAK SPACE}")
        return figure.text(row) if within == MISSING else f"{figure.text(row)} ({within})"

    heading = f"{figure.heading} ({interval.heading})"
    return figure._replace(heading=heading, text=joined)


def headline(run: Run) -> Headline:
    """Say who is the fastest backend of a class, and how fast: every factor is that of the table.

    Whether it is the fastest, the pairs of the two fastest say, which need not be the baseline.
    """
    if not run.ranked:
        return Headline("Nothing to compare", f"In this run {run.why_nothing()}.")
    best, *others = run.ranked
    if run.is_mixed:
        pace = f"On {len(run.kinds)} kinds of machines {best.backend} is ahead"
    else:
        pace = f"{best.backend} trains an epoch in {significant(best.train_s_per_epoch)} s"
    others = [row for row in others if row.precision == best.precision]
    if not others:
        return Headline(
            pace, f"There is no other backend to compare it with. {_proved(best)}".strip()
        )
    second = others[0].backend
    paces = f"{pace}{_factor(run, best)}. {second} is next{_factor(run, others[0])}."
    groups = run.groups[second], run.groups[best.backend]
    comparison = frames.compare(run.info, *groups)
    if comparison is None:
        return Headline(pace, f"It has no round in common with {second}.")
    match comparison.verdict:
        case "slower":
            title = f"{best.backend} is the fastest"
            meaning = "The difference between the two is beyond the noise floor."
        case "same":
            title = f"{best.backend} and {second} are equally fast"
            meaning = "The difference between the two is within the noise floor."
        case "faster" | "inconclusive":  # faster in the shared rounds, slower in all
            title = f"{best.backend} or {second}: undecided"
            meaning = "The rounds do not settle which of the two is faster."
        case unknown:
            assert_never(unknown)
    proved = _proved(best, others[0])
    return Headline(title, f"{paces} {meaning} {proved}".strip())


def _factor(run: Run, row: Row) -> str:
    """Say how many times as fast as the baseline a backend is; nothing of that itself, nor where its table has nothing."""
    if row.backend == run.info.baseline or value(row, "speedup") is None:
        return ""
    interval = column(run.info, "speedup_interval").text(row)
    sure = "too few rounds for an interval" if interval == MISSING else f"95% interval {interval}"
    return f", {times_as_fast(row, run.info.baseline, within=sure)}"


def _proved(*rows: Row) -> str:
    """Say how much of some trainings was proved; nothing of those made before proofs."""
    if any(value(row, "steps_trained") is None for row in rows):
        return ""
    if all(row.steps_proved >= row.steps_trained for row in rows):
        return "Every step was proved."
    known = [row for row in rows if row.steps_trained]
    least = min(100 * row.steps_proved // row.steps_trained for row in known)
    return f"{least}% of the steps, or more, were followed by the reference."


def facts(run: Run) -> dict[str, dict[str, str]]:
    """Return what was asked of a run, what was trained, and where, on which versions."""
    info = run.info
    workload = asdict(info.workload)
    optimizer = workload.pop("optimizer")
    workload |= {"optimizer": optimizer.pop("kind"), **optimizer}
    machines = {"Machine and versions": _machine(run.used)}
    if run.is_mixed:
        machines = {kind: _machine(part.info) for kind, part in run.kinds.items()}
    return {
        "Arguments": {
            "command": info.command,
            "started": info.started,
            "rounds": str(info.rounds),
            "seed": "random" if info.seed is None else str(info.seed),
            "proof": info.proof or "none, made before proofs",
            "threads": str(info.threads),
            "budget": f"{info.budget_s:g} s of training a cell",
            "time-out": f"{info.timeout_s:g} s",
            "baseline": info.baseline,
            "noise floor": f"{info.noise_floor:.1%}",
            "dataset SHA-256": info.point.dataset_sha256 or "not recorded",
            **({"classes": classes} if (classes := outputs(info.point)) else {}),
        },
        "Workload": {key.replace("_", " "): _spell(value) for key, value in workload.items()},
        **machines,
        **({"Environment variables": named} if (named := _variables(run)) else {}),
        **({"What backends say of themselves": said} if (said := _recorded(run)) else {}),
    }


def _machine(info: RunInfo) -> dict[str, str]:
    """Return what a machine is: of several, the first, and what all are called."""
    e = info.environment
    cores = {"usable": e.usable_cores, "physical": e.physical_cores, "logical": e.logical_cores}
    return {
        **({"machines": ", ".join(info.machines)} if len(info.machines) > 1 else {}),
        "CPU": e.cpu,
        "cores": ", ".join(f"{_spell(number)} {kind}" for kind, number in cores.items()),
        "memory": f"{e.memory_bytes / 2**30:.1f} GiB",
        "GPUs": _spell(e.gpus),
        "system": e.system,
        "Python": e.python,
        **info.versions,
        "commit": _spell(e.git),
        "fingerprint": e.fingerprint,
    }


def _variables(run: Run) -> dict[str, str]:
    """Return what was handed on to workers and could change figures, and the names of what was not."""
    handed = sorted(
        {(n, text) for cell in run.cells for n, text in cell.variables.items() if text is not None}
    )
    found = {name: " or ".join(text for n, text in handed if n == name) for name, _ in handed}
    machines = run.info.machines.values()
    dropped = ", ".join(dict.fromkeys(name for each in machines for name in each.dropped))
    return {**found, **({"set, and not handed on": dropped} if dropped else {})}


def _recorded(run: Run) -> dict[str, str]:
    return {
        f"{label}: {name}": text
        for label in run.info.backends
        for name, text in run.recorded(label).items()
    }


def _spell(value: object) -> str:
    match value:
        case None | [] | ():
            return "none"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value))
    return str(value)
