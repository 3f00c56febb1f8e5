"""``nnbench show``, ``plot``, ``report`` and ``export``: a run in all its forms."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from nnbench import files
from nnbench.cli.options import (
    FILE,
    FOLDER,
    Accuracy,
    Real,
    echo_csv,
    echo_json,
    echo_line,
)
from nnbench.figures.columns import TABLES
from nnbench.show import charts
from nnbench.show.exports import BINARY, FORMATS, convert

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.cli.options import Command
    from nnbench.runs.sweep import Sweep
    from nnbench.show.charts import Theme
    from nnbench.show.view import View


THEME = click.option(
    "--theme",
    type=click.Choice(get_args(charts.Theme)),
    default="light",
    help="On a light or a dark background.",
)
SCALE = click.option(
    "--scale",
    type=Real(0.1, 10.0),
    default=2.0,
    help="Size of a PNG, times that of the screen: from 0.1 to 10.",
)


def looked_at(command: Command) -> Command:
    """Add the options that look at a run in another way than it was made."""
    for decorate in (
        click.option(
            "--at",
            "chosen",
            multiple=True,
            metavar="AXIS=VALUE",
            help="Points of a run of several, as the tables have them: batch_size=64. May be repeated.",
        ),
        click.option(
            "--workload",
            "-w",
            metavar="NAME",
            help="Points that train this one, where a run has several workloads.",
        ),
        click.option(
            "--backends",
            "-b",
            multiple=True,
            metavar="NAMES",
            help="These alone, and the baseline; names with commas, as in the tables. May be repeated.",
        ),
        click.option(
            "--target",
            type=Accuracy(),
            help="Accuracy whose time is asked for, in percent: 97, or 0.97.  [default: the workload's]",
        ),
        click.option(
            "--baseline", metavar="NAME", help="The backend whose time is 1.  [default: the run's]"
        ),
    ):
        command = decorate(command)
    return command


def opened(
    folder: Path,
    *,
    baseline: str | None,
    target: float | None,
    backends: tuple[str, ...],
    workload: str | None,
    chosen: tuple[str, ...],
) -> Sweep:
    """Open a run, and look at it as the user has asked."""
    from nnbench import selection
    from nnbench.runs.sweep import Sweep

    if wrong := [text for text in chosen if "=" not in text]:
        raise click.UsageError(
            f"--at takes an axis and its value, as batch_size=64; not {wrong[0]!r}"
        )
    at = dict(text.split("=", 1) for text in chosen)
    return (
        Sweep.open(folder)
        .at(workload, at)
        .seen(baseline=baseline, target=target, backends=selection.labels(backends))
    )


def print_table(views: list[View]) -> None:
    """Print tables for the terminal."""
    from nnbench.show.terminal import Terminal, print_heading, print_tables

    terminal = Terminal()
    for view in views:
        if views[1:]:
            print_heading(terminal, str(view.run.folder))
        print_tables(terminal, view.tables, view.run)


def print_markdown(views: list[View]) -> None:
    """Print Markdown, with a heading for each run if there are several."""
    from nnbench.show.text import code

    for view in views:
        if views[1:]:
            click.echo(f"## {code(str(view.run.folder))}\n")
        click.echo(view.markdown())


def print_for_paper(name: str, views: list[View]) -> None:
    """Print tables for LaTeX or HTML, one after the other."""
    from nnbench.show import paper, text

    write = {"latex": paper.latex, "html": paper.html}[name]
    for view in views:
        for table in view.tables:
            click.echo(write(text.sheet(table)))


def print_records(echo: Callable[[list[dict[str, object]]], None], views: list[View]) -> None:
    """Print one record for each backend."""
    from nnbench.show import view

    echo(view.records(views))


PRINTERS: dict[str, Callable[[list[View]], None]] = {
    "table": print_table,
    "md": print_markdown,
    "html": partial(print_for_paper, "html"),
    "latex": partial(print_for_paper, "latex"),
    "csv": partial(print_records, echo_csv),
    "json": partial(print_records, echo_json),
}


@click.command()
@click.argument("runs", nargs=-1, required=True, type=FOLDER, metavar="RUN…")
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Choice(list(TABLES)),
    help="Which table; may be repeated.  [default: all]",
)
@click.option(
    "--pairs", is_flag=True, help="Every backend over each faster one, instead of these tables."
)
@looked_at
@click.option(
    "--columns",
    metavar="NAMES",
    default="",
    help="Columns, with commas; all is also those that a narrow terminal has no room for.",
)
@click.option("--sort", metavar="COLUMN", help="Sort by a column; -COLUMN for the largest first.")
@click.option("--reverse", is_flag=True, help="Turn the order around.")
@click.option(
    "--format",
    "table_format",
    type=click.Choice(list(PRINTERS)),
    default="table",
    help="html and latex are for papers; csv and json hold plain numbers, one row for each backend.",
)
def show(
    runs: tuple[Path, ...],
    *,
    tables: tuple[str, ...],
    pairs: bool,
    columns: str,
    sort: str | None,
    reverse: bool,
    table_format: str,
    **look: Any,
) -> None:
    """Show the tables of the runs in RUN…, and a bar for each round."""
    from nnbench.show import view

    if pairs and tables:
        raise click.UsageError("--pairs is a table of its own: leave out --table")
    names = [name for text in columns.split(",") if (name := text.strip())]
    descending = sort is not None and sort.startswith("-")
    views = view.choose(
        [opened(run, **look) for run in runs],
        names=tables,
        pairs=pairs,
        columns=names,
        sort=sort if sort is None else sort.removeprefix("-"),
        reverse=reverse != descending,
    )
    PRINTERS[table_format](views)


@click.command()
@click.argument("run", type=FOLDER)
@click.option(
    "--output", "-o", type=FILE, required=True, help="A name that ends with .png or .svg."
)
@click.option(
    "--figure",
    "-f",
    type=click.Choice([*charts.CHARTS, *charts.OF_SWEEPS]),
    default="ratios",
    help="What to draw; scaling is of several points, the others of one.",
)
@THEME
@SCALE
@click.option(
    "--machine",
    metavar="NAME",
    help="Draw what ran on machines of the same kind as this one, where a run has several.",
)
@looked_at
def plot(
    run: Path,
    *,
    output: Path,
    figure: str,
    theme: Theme,
    scale: float,
    machine: str | None,
    **look: Any,
) -> None:
    """Draw a figure of the run in a folder.

    It is the same as on the page of ``nnbench report``.
    """
    charts.require_libraries()
    from nnbench.show.charts import base

    base.check_suffix(output)
    seen = opened(run, **look)
    files.check_output(output)  # better an error now than when all is drawn
    colors = base.colors(seen.labels)
    if figure in charts.OF_SWEEPS:
        whole = seen if machine is None else seen.like(machine)
        drawn, said = charts.chart_of_sweep(figure)(whole, colors), base.subtitle_of(whole)
    else:
        point = seen.alone
        part = point if machine is None else point.like(machine)
        base.refuse_unlike(part, figure)
        drawn, said = charts.chart(figure)(part, colors), base.subtitle(part)
    base.draw(drawn, output, said, theme, scale)
    if not files.is_stream(output):
        echo_line(f"Figure: {output}")


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=FOLDER)
@click.option("--output", "-o", type=FILE, default=Path("report.html"), help="The page.")
@looked_at
def report(runs: tuple[Path, ...], *, output: Path, **look: Any) -> None:
    """Write runs as one HTML page: tables, charts, versions.

    The page needs nothing else: it can be mailed, opened offline and on a phone, and printed.
    """
    charts.require_libraries()
    from nnbench.show import page

    seen = [opened(run, **look) for run in runs]
    files.check_output(output)  # as above
    files.write_output(output, page.render(seen).encode())
    if not files.is_stream(output):
        echo_line(f"Report: {output}")


@click.command("export")
@click.argument("run", type=FOLDER)
@click.option("--to", "name", required=True, type=click.Choice(list(FORMATS)), help="The format.")
@click.option(
    "--output",
    "-o",
    type=FILE,
    help="A file; - is standard output.  [default: standard output; a step-summary is added to "
    "$GITHUB_STEP_SUMMARY if that is set]",
)
@looked_at
def export_(run: Path, *, name: str, output: Path | None, **look: Any) -> None:
    """Write the run in RUN in a format that another tool reads."""
    if name in BINARY and output in {None, files.STDOUT}:
        raise click.UsageError(f"{name} is no text: name a file with --output")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    is_added = output is None and name == "step-summary" and bool(summary)
    target = Path(summary or "") if is_added else output or files.STDOUT
    seen = opened(run, **look)
    files.check_output(target)  # as above
    files.write_output(target, convert(seen, name), add=is_added)
