"""The page: one HTML file that needs nothing else, not even a network.

Whatever comes from a run is escaped by Jinja's autoescape, in the charts' JSON too. A content
security policy lets the browser run the page's own scripts, known by their hashes, and load nothing.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, NamedTuple, assert_never

from nnbench.figures import frames
from nnbench.figures.columns import MISSING, Table, column, significant, tables
from nnbench.show.charts import CHARTS, base, chart
from nnbench.show.charts.base import VEGA_LITE, NothingToDrawError
from nnbench.show.text import Sheet, notes, sheet, sheets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.figures.statistics import Comparison
    from nnbench.runs.run import Run
    from nnbench.show.charts.base import Chart

    Facts = dict[str, str]

TEMPLATES = "templates"

#: Columns of the table below the headline; the interval stands behind its ratio.
SUMMARY = (
    *("backend", "accuracy", "train_s_per_epoch", "ratio", "verdict", "rounds"),
    *("target_reached", "target_s", "status"),
)


class Headline(NamedTuple):
    """The first thing on the page."""

    title: str
    text: str
    table: Sheet


@dataclass(frozen=True, slots=True)
class Section:
    """A run on the page."""

    run: Run
    headline: Headline
    charts: dict[str, Chart]
    missing: dict[str, str]  #: charts that cannot be drawn, and why
    sheets: list[Sheet]
    problems: list[str]
    facts: dict[str, Facts]


def render(runs: Sequence[Run]) -> str:
    """Return the page of some runs."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("nnbench.show", TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    colors = base.colors(label for run in runs for label in run.info.backends)
    scripts = [_for_html(text) for text in (_libraries(), _read("report.js"))]
    return environment.get_template("report.html.j2").render(
        sections=[section(run, colors) for run in runs],
        colors=colors,
        config=base.config(base.PAGE),
        style=_read("report.css"),
        scripts=scripts,
        hashes=[_hash(text) for text in scripts],
    )


def section(run: Run, colors: dict[str, str]) -> Section:
    """Draw the charts of a run, and say what there is to say."""
    drawn, missing = {}, {}
    for name in CHARTS:
        try:
            drawn[name] = chart(name)(run, colors)
        except NothingToDrawError as error:
            missing[name] = str(error)
    return Section(
        run=run,
        headline=headline(run),
        charts=drawn,
        missing=missing,
        sheets=[sheet for sheet in sheets(run).values() if sheet.rows],
        problems=problems(run),
        facts={
            "Arguments": arguments(run),
            "Workload": workload(run),
            "Machine and versions": machine(run),
        },
    )


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


def headline(run: Run) -> Headline:
    """Sum up a run."""
    title, text = _verdict(run)
    return Headline(title, text, summary(run))


def summary(run: Run) -> Sheet:
    """Return the columns that matter most of all tables, a row for each backend."""
    kept = {c.name for table in tables(run.info).values() for c in table.columns}
    columns = [column(run.info, name) for name in SUMMARY if name in kept]
    ratio, interval = (column(run.info, name) for name in ("ratio", "interval"))
    joined = ratio._replace(
        heading=f"{ratio.heading} ({interval.heading})",
        text=lambda row: _join(ratio.text(row), interval.text(row)),
    )
    columns = [joined if each.name == "ratio" else each for each in columns]
    return sheet(Table("", columns), run.frame)


def _join(ratio: str, interval: str) -> str:
    """Write an interval behind a ratio, so that a line can break only between the two."""
    within = interval.replace(" ", "\N{NO-BREAK SPACE}")
    return ratio if interval == MISSING else f"{ratio} ({within})"


def _verdict(run: Run) -> tuple[str, str]:
    """Compare the two fastest backends, which need not be the baseline."""
    if not run.ranked:
        return "Nothing to compare", f"In this run {run.why_nothing()}."
    best, *others = run.ranked
    pace = f"{best.backend} trains an epoch in {significant(best.train_s_per_epoch)} s"
    if not others:
        return pace, "There is no other backend to compare it with."
    second = others[0].backend
    group = run.groups[best.backend]
    times = {cell.round: s for cell, s in zip(group.cells, group.times, strict=True)}
    comparison = frames.compare(run.groups[second], times, run.info.noise_floor)
    if comparison is None:
        return pace, f"It has no round in common with {second}."
    match comparison.verdict:
        case "slower":
            title = f"{best.backend} is the fastest"
            meaning = "The difference is beyond the noise floor."
        case "same":
            title = f"{best.backend} and {second} are equally fast"
            meaning = "That is within the noise floor."
        case "faster" | "inconclusive":  # faster in the shared rounds, slower in all
            title = f"{best.backend} or {second}: undecided"
            meaning = "That does not settle which of them is faster."
        case unknown:
            assert_never(unknown)
    return title, f"{pace}, and {second} takes {_times(comparison)}. {meaning}"


def _times(comparison: Comparison) -> str:
    rounds = f"{comparison.pairs} round{'s' if comparison.pairs > 1 else ''}"
    text = f"{significant(comparison.ratio)} times as long"
    if comparison.interval is None:
        return f"{text} ({rounds}, too few for an interval)"
    low, high = map(significant, (comparison.interval.low, comparison.interval.high))
    return f"{text} (95% interval {low} to {high}, {rounds})"


def arguments(run: Run) -> Facts:
    """Return what was asked of a run."""
    info = run.info
    return {
        "command": info.command,
        "started": info.started,
        "rounds": str(info.rounds),
        "seed": str(info.seed),
        "threads": str(info.threads),
        "budget": f"{info.budget_s:g} s of training a cell",
        "time-out": f"{info.timeout_s:g} s",
        "baseline": info.baseline,
        "noise floor": f"{info.noise_floor:.1%}",
        "dataset SHA-256": info.dataset_sha256 or "not recorded",
    }


def workload(run: Run) -> Facts:
    """Return what was trained."""
    fields = asdict(run.info.workload)
    optimizer = fields.pop("optimizer")
    fields |= {"optimizer": optimizer.pop("kind"), **optimizer}
    return {key.replace("_", " "): _spell(value) for key, value in fields.items()}


def machine(run: Run) -> Facts:
    """Return where it ran, and on which versions."""
    e = run.info.environment
    cores = f"{e.usable_cores} usable, {_spell(e.physical_cores)} physical, {_spell(e.logical_cores)} logical"
    return {
        "CPU": e.cpu,
        "cores": cores,
        "memory": f"{e.memory_bytes / 2**30:.1f} GiB",
        "GPUs": _spell(e.gpus),
        "system": e.system,
        "Python": e.python,
        **e.versions,
        "commit": _spell(e.git),
        "fingerprint": e.fingerprint,
    }


def problems(run: Run) -> list[str]:
    """Say why backends have no figures, and whose times are to be taken with care."""
    timing = run.timing
    remarks = [f"{row.backend}: {row.remarks}" for row in run.ranked if row.remarks]
    return [*notes(timing), *remarks]


def _spell(value: object) -> str:
    match value:
        case None | [] | ():
            return "none"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join(map(str, value))
    return str(value)
