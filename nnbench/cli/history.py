"""``nnbench history``: from run to run, and where that changes."""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import click

from nnbench import files
from nnbench.cli.options import FILE, FOLDER, echo_csv, echo_json, echo_line
from nnbench.cli.show import SCALE, THEME
from nnbench.contract.errors import ExitCode, NnbenchError
from nnbench.figures.metrics import METRICS, TRAINING
from nnbench.show import charts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nnbench.runs.history import History, Order
    from nnbench.show.charts import Theme

PAGE = ".html"


def print_table(history: History) -> None:
    """Print tables for the terminal, and what has changed below them."""
    from nnbench.show import history as texts
    from nnbench.show.terminal import Terminal, print_sheet, say

    terminal = Terminal()
    for series in history.series:
        if series.points:
            print_sheet(terminal, texts.sheet(history, series))
    for line in texts.sentences(history):
        say(terminal, line)


def print_markdown(history: History) -> None:
    """Print all as Markdown."""
    from nnbench.show import history as texts

    click.echo(texts.markdown(history))


def print_records(echo: Callable[[list[dict[str, object]]], None], history: History) -> None:
    """Print one record for each point."""
    from nnbench.show import history as texts

    echo(texts.records(history))


PRINTERS: dict[str, Callable[[History], None]] = {
    "table": print_table,
    "md": print_markdown,
    "csv": partial(print_records, echo_csv),
    "json": partial(print_records, echo_json),
}


@click.command()
@click.argument("folders", nargs=-1, type=FOLDER, metavar="[FOLDER…]")
@click.option(
    "--metric",
    default=TRAINING.name,
    metavar="METRIC",
    help=f"What is looked at: {', '.join(METRICS)}.",
)
@click.option(
    "--backend",
    "-b",
    "backends",
    multiple=True,
    metavar="NAME",
    help="This one alone, as the tables call it. May be repeated.  [default: all of the newest run]",
)
@click.option(
    "--baseline",
    metavar="NAME",
    help="By whose figure each run's is divided.  [default: the newest run's baseline]",
)
@click.option(
    "--workload", "trained", metavar="NAME", help="Of which runs.  [default: the newest run's]"
)
@click.option("--since", metavar="REV|DATE", help="Leave out runs before a revision, or a date.")
@click.option(
    "--by",
    "order",
    type=click.Choice(["date", "revision"]),
    default="date",
    help="In which order; that of revisions is git's, in the repository of the current folder.",
)
@click.option(
    "--fail",
    is_flag=True,
    help=f"End with {ExitCode.REGRESSION:d} if the latest run lies after a change for the worse; "
    f"with {ExitCode.ACCURACY:d} if that is an accuracy's.",
)
@click.option(
    "--format",
    "table_format",
    type=click.Choice(list(PRINTERS)),
    default="table",
    help="csv and json hold plain numbers, one row for each run of each backend.",
)
@click.option(
    "--output", "-o", type=FILE, help="A picture as well, or a page: .svg, .png or .html."
)
@THEME
@SCALE
def history(
    folders: tuple[Path, ...],
    *,
    metric: str,
    backends: tuple[str, ...],
    baseline: str | None,
    trained: str | None,
    since: str | None,
    order: Order,
    fail: bool,
    table_format: str,
    output: Path | None,
    theme: Theme,
    scale: float,
) -> NoReturn:
    """Show backends from run to run, and what changed when.

    Each FOLDER holds runs, or is one; without any it is ``results``. Of each run a backend has its ratio to the baseline, so machines may
    differ. Between changes of level lie the commits that git knows.
    """
    from nnbench.figures import metrics
    from nnbench.runs import history as histories
    from nnbench.runs import store
    from nnbench.show import history as texts

    if output is not None:
        prepare(output)
    found = histories.collect(
        folders or (store.RESULTS,),
        metric=metrics.find(metric),
        backends=backends,
        baseline=baseline,
        workload=trained,
        since=since,
        order=order,
    )
    if output != files.STDOUT:  # which has the picture then
        PRINTERS[table_format](found)
    for line in texts.notes(found):
        echo_line(f"nnbench: note: {line}", err=True)
    if output is not None:
        draw(found, output, theme, scale)
    code = found.code if fail else ExitCode.OK
    if code:
        for line in texts.worse(found):
            echo_line(f"nnbench: Failed: {line}", err=True)
    sys.exit(code)


def prepare(output: Path) -> None:
    """Refuse a name that cannot be written to, or of another format, before the work for it."""
    charts.require_libraries()
    from nnbench.show.charts import base

    try:
        if output.suffix.lower() != PAGE:
            base.check_suffix(output)
    except NnbenchError as error:
        raise NnbenchError(f"{error}, or {PAGE}") from error
    files.check_output(output)


def draw(found: History, output: Path, theme: Theme, scale: float) -> None:
    """Write the picture, or the page."""
    from nnbench.show import page
    from nnbench.show.charts import base
    from nnbench.show.charts import history as drawing

    if output.suffix.lower() == PAGE:
        files.write_output(output, page.render_history(found).encode())
    else:
        chart = drawing.chart(found, found.series)
        base.draw(chart, output, drawing.subtitle(found), theme, scale)
    if not files.is_stream(output):
        what = "Page" if output.suffix.lower() == PAGE else "Figure"
        echo_line(f"{what}: {output}", err=True)
