"""``nnbench compare``: hold a run against an earlier one, and fail on a regression.

The options of every comparison stand here, and its outcome as Markdown, CSV or JSON.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import click

from nnbench.cli.options import FOLDER, echo_csv, echo_json, echo_line
from nnbench.contract.errors import ExitCode, IncomparableError, ResultsError
from nnbench.figures.metrics import DEFAULT_GATES, METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nnbench.figures.metrics import Gate, Metric
    from nnbench.figures.statistics import Interval
    from nnbench.records.cells import CellResult
    from nnbench.runs.comparison import Change
    from nnbench.runs.run import Run
    from nnbench.runs.sweep import Sweep

FAIL = click.option(
    "--fail",
    "gates",
    multiple=True,
    metavar="METRIC:LIMIT",
    help="What may get worse, and by how much. May be repeated. A METRIC is one of "
    f"{', '.join(METRICS)}; a LIMIT a number of %, or of pp (percentage points) for an accuracy.  "
    f"[default: {' and '.join(DEFAULT_GATES)}, where measured]",
)
STRICT = click.option(
    "--strict",
    is_flag=True,
    help=f"End with {ExitCode.INCONCLUSIVE:d} if a comparison is inconclusive.",
)
HEADINGS = ["backend", "limit", "base", "new", "change", "95% interval", "verdict", "outcome"]


def chosen_limits(texts: Sequence[str], cells: Sequence[CellResult]) -> Sequence[Gate]:
    """Return the limits that were typed, or else the default ones that some cells have figures for."""
    from nnbench.figures import metrics

    limits = metrics.parse_gates(texts)
    return limits if texts else metrics.measurable(limits, cells) or limits


def records(changes: Sequence[Change]) -> list[dict[str, object]]:
    """Return changes as plain values; where there are several points, or kinds of machines, with these."""
    points = any(change.point for change in changes)
    kinds = any(change.kind for change in changes)
    return [
        {
            **({"point": change.point} if points else {}),
            **record(change),
            **({"machine_kind": change.kind} if kinds else {}),
        }
        for change in changes
    ]


def record(change: Change) -> dict[str, object]:
    """Return a change as plain values."""
    interval = change.interval
    return {
        "backend": change.backend,
        "metric": change.gate.metric.name,
        "limit": change.gate.text,
        "base": change.base,
        "new": change.new,
        "unit": change.unit,
        "change": interval.ratio if interval else None,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "verdict": change.verdict,
        "outcome": change.outcome,
        "message": change.message,
    }


def cells(change: Change) -> list[str]:
    """Return a change as the cells of a row."""
    from nnbench.figures.columns import MISSING, significant
    from nnbench.figures.metrics import Scale

    is_ratio = change.gate.metric.scale is Scale.RATIO
    value_text: Callable[[float], str] = significant if is_ratio else "{:.2%}".format
    texts = [MISSING, MISSING]
    if change.interval:
        by, low, high = sizes(change.gate.metric, change.interval)
        texts = [by, f"{low} to {high}"]
    return [
        change.backend,
        change.gate.text,
        *(MISSING if v is None else value_text(v) for v in (change.base, change.new)),
        *texts,
        change.verdict or MISSING,
        change.outcome,
    ]


def sizes(metric: Metric, interval: Interval) -> list[str]:
    """Write by how much a figure changed, and both ends of that: in the unit of its limit."""
    from nnbench.show.text import size

    return [size(metric, value) for value in (interval.ratio, interval.low, interval.high)]


def sentences(changes: Sequence[Change], *, strict: bool) -> list[str]:
    """Say what decides a comparison: what failed, by how much and how surely; or that nothing did."""
    from nnbench.runs.comparison import Outcome

    codes = {id(change): change.code(strict=strict) for change in changes}
    failed = [change for change in changes if codes[id(change)] not in {None, ExitCode.OK}]
    undecided = [c for c in changes if c.outcome is Outcome.INCONCLUSIVE and c not in failed]
    lines = [f"Failed: {said(change)}." for change in failed]
    lines += [f"Undecided: {said(change)}." for change in undecided]
    if not any(code is not None for code in codes.values()):
        lines = ["Nothing was compared."]
    elif not failed:
        lines.insert(0, "Passed: nothing is known to be worse than allowed.")
    return list(dict.fromkeys(lines))


def said(change: Change) -> str:
    """Say what became of a figure, or of a whole backend, without a full stop."""
    name, interval = change.gate.metric.name, change.interval
    if interval is None:
        reason = f" ({change.message.rstrip(': ')})" if change.message else ""
        return f"{change.backend} is {change.outcome}{place(change)}{reason}"
    middle, low, high = sizes(change.gate.metric, interval)
    limit = change.gate.text.partition(":")[2]
    how = f"{middle} (95% interval {low} to {high}), where {limit} is allowed"
    return f"the {name} of {change.backend}{place(change)} changed by {how}"


def place(change: Change) -> str:
    """Say at which point, and on which machines, where there are several."""
    at = f" at {change.point}" if change.point else ""
    return f"{at} on {change.kind}" if change.kind else at


def print_markdown(changes: Sequence[Change], head: str) -> None:
    """Print every change below a caption, and below the table why some have no figures."""
    from nnbench.show.text import Sheet, escape, markdown

    click.echo(f"{head}\n")
    headings, rows = HEADINGS, [cells(change) for change in changes]
    if any(change.kind for change in changes):
        headings = [*headings, "machines"]
        rows = [[*row, c.kind or "all"] for row, c in zip(rows, changes, strict=True)]
    if any(change.point for change in changes):
        headings = ["point", *headings]
        rows = [[c.point, *row] for row, c in zip(rows, changes, strict=True)]
    click.echo(markdown(Sheet("", headings, rows)), nl=False)
    notes = (f"{c.backend}{place(c)}: {c.message}" for c in changes if c.message)
    for note in dict.fromkeys(notes):
        click.echo(f"\n- {escape(note)}")


PRINTERS: dict[str, Callable[[Sequence[Change], str], None]] = {
    "md": print_markdown,
    "csv": lambda changes, _: echo_csv(records(changes)),
    "json": lambda changes, _: echo_json(records(changes)),
}
TABLE_FORMAT = click.option(
    "--format",
    "table_format",
    type=click.Choice(list(PRINTERS)),
    default="md",
    help="csv and json hold plain numbers, one row for each figure.",
)


def print_changes(
    changes: Sequence[Change],
    pairs: Sequence[tuple[Run, Run]],
    titles: Sequence[str],
    *,
    is_paired: bool = False,
    how: str,
    table_format: str,
    strict: bool,
) -> None:
    """Print every change in a format; on standard error what decides, and how the machines differ.

    In Markdown that stands at the top, with a caption: what was compared, in which units, and on which terms. Points
    are compared each with its equal.
    """
    from nnbench.runs import comparison
    from nnbench.show.text import code, escape

    base, new = map(code, titles)
    rounds = [str(len({cell.round for cell in run.cells})) for pair in pairs for run in pair]
    units = dict.fromkeys(f"{change.gate.metric.name} in {change.unit}" for change in changes)
    what = f"{len(pairs)} points" if pairs[1:] else pairs[0][1].info.workload.name
    text = f"{what}, {' and '.join(dict.fromkeys(rounds))} rounds, {how}"
    terms = [comparison.terms(*pair, is_paired=is_paired) for pair in pairs]
    said = " ".join(dict.fromkeys(each.text for each in terms))
    head = escape(f"{text}. {', '.join(units)}. {said}")
    announce(changes, f"{new} against {base}: {head}", table_format=table_format, strict=strict)
    differing = (t.text for t in terms if t.hardware or t.software or t.alone)
    for line in dict.fromkeys(differing):
        echo_line(f"nnbench: note: {line}", err=True)


def announce(changes: Sequence[Change], caption: str, *, table_format: str, strict: bool) -> None:
    """Print changes in a format, in Markdown below a caption; and what decides, above that and on standard error."""
    from nnbench.show.text import escape

    lines = sentences(changes, strict=strict)
    top = "\n".join(f"- {escape(line)}" for line in lines)
    PRINTERS[table_format](changes, f"{top}\n\n{caption}")
    for line in lines:
        echo_line(f"nnbench: {line}", err=True)


def open_base(folder: Path) -> Sweep:
    """Open the run to compare with: without one, there is nothing to compare.

    Raises
    ------
    IncomparableError
        If the folder holds no run, or a damaged one.
    """
    from nnbench.runs.sweep import Sweep

    try:
        run = Sweep.open(folder)
        _ = run.cells  # which finds the damaged ones
    except ResultsError as error:
        raise IncomparableError(f"no run to compare with: {error}") from error
    return run


@click.command()
@click.argument("base", type=FOLDER)
@click.argument("new", type=FOLDER)
@FAIL
@STRICT
@TABLE_FORMAT
def compare(
    base: Path, new: Path, *, gates: tuple[str, ...], strict: bool, table_format: str
) -> NoReturn:
    """Compare the run in NEW with the one in BASE.

    Of runs of several points those are compared that both have. Ends with {REGRESSION} if a time, with {ACCURACY} if an accuracy got worse: beyond its limit,
    and with its whole 95% interval. With {BACKEND_FAILED} if a backend failed, with
    {NOTHING_MEASURED} if one was not measured, with {INCOMPARABLE} if the runs cannot be compared.
    """
    from nnbench.execution import machine
    from nnbench.runs import comparison
    from nnbench.runs.sweep import Sweep

    runs = open_base(base), Sweep.open(new)
    pairs = comparison.pair(*runs)
    limits = chosen_limits(gates, [cell for run in runs for cell in run.cells])
    floor = max(machine.noise_floor(m.environment) for m in runs[1].info.machines.values())
    changes = comparison.compare_points(pairs, limits, floor)
    titles = str(base), str(new)
    how = f"noise floor {floor:.1%}"
    print_changes(changes, pairs.common, titles, how=how, table_format=table_format, strict=strict)
    for folder, alone in ((base, pairs.base), (new, pairs.new)):
        if alone:
            echo_line(f"nnbench: note: only {folder} has {'; '.join(alone)}", err=True)
    sys.exit(comparison.exit_code(changes, strict=strict))
