"""``nnbench compare``: hold a run against an earlier one, and fail on a regression.

The options of every comparison stand here, and its outcome as Markdown, CSV or JSON.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn, assert_never

import click

from nnbench.cli.options import FOLDER, echo_csv, echo_json
from nnbench.contract.errors import ExitCode
from nnbench.figures.metrics import DEFAULT_GATES, METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nnbench.figures.metrics import Gate
    from nnbench.records import CellResult
    from nnbench.runs.comparison import Change

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


def record(change: Change) -> dict[str, object]:
    """Return a change as plain values."""
    interval = change.interval
    return {
        "backend": change.backend,
        "metric": change.gate.metric.name,
        "limit": change.gate.text,
        "base": change.base,
        "new": change.new,
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

    value_text: Callable[[float], str]
    match change.gate.metric.scale:
        case Scale.RATIO:
            value_text, unit, change_text = significant, 1, "× {:.3f}"
        case Scale.DIFFERENCE:
            value_text, unit, change_text = "{:.2%}".format, 100, "{:+z.2f} pp"
        case unknown:
            assert_never(unknown)
    texts = [MISSING, MISSING]
    if interval := change.interval:
        values = (interval.ratio, interval.low, interval.high)
        ratio, low, high = (change_text.format(unit * value) for value in values)
        texts = [ratio, f"{low} to {high}"]
    return [
        change.backend,
        change.gate.text,
        *(MISSING if v is None else value_text(v) for v in (change.base, change.new)),
        *texts,
        change.verdict or MISSING,
        change.outcome,
    ]


def print_markdown(changes: Sequence[Change]) -> None:
    """Print every change, and below the table why some have no figures."""
    from nnbench.show.text import Sheet, markdown

    click.echo(markdown(Sheet("", HEADINGS, [cells(change) for change in changes])), nl=False)
    for note in dict.fromkeys(f"\n- {c.backend}: {c.message}" for c in changes if c.message):
        click.echo(note)


PRINTERS: dict[str, Callable[[Sequence[Change]], None]] = {
    "md": print_markdown,
    "csv": lambda changes: echo_csv(list(map(record, changes))),
    "json": lambda changes: echo_json(list(map(record, changes))),
}
TABLE_FORMAT = click.option(
    "--format",
    "table_format",
    type=click.Choice(list(PRINTERS)),
    default="md",
    help="csv and json hold plain numbers, one row for each figure.",
)


@click.command()
@click.argument("base", type=FOLDER)
@click.argument("new", type=FOLDER)
@FAIL
@STRICT
@TABLE_FORMAT
def compare(
    base: Path, new: Path, *, gates: tuple[str, ...], strict: bool, table_format: str
) -> NoReturn:
    """Compare the run in NEW with the one in BASE, backend by backend.

    Ends with {REGRESSION} if a time, with {ACCURACY} if an accuracy got worse: beyond its limit,
    and with its whole 95% interval. With {BACKEND_FAILED} if a backend failed, with
    {NOTHING_MEASURED} if one was not measured.
    """
    from nnbench.execution import machine
    from nnbench.runs import comparison
    from nnbench.runs.run import Run

    runs = Run.open(base), Run.open(new)
    limits = chosen_limits(gates, [cell for run in runs for cell in run.cells])
    floor = machine.noise_floor(runs[1].info.environment)
    changes = comparison.compare(*runs, limits, floor)
    PRINTERS[table_format](changes)
    if not comparison.same_machine(*runs):
        text = f"different machines: times are relative to {runs[0].info.baseline}"
        click.echo(f"nnbench: {text}", err=True)
    sys.exit(comparison.exit_code(changes, strict=strict))
