"""``nnbench show``: the tables of a run, again and in other forms."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nnbench.cli.options import FOLDER

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.show.view import View

TABLES = ["accuracy", "timing", "rounds", "parts", "phases", "ceilings"]


@click.command()
@click.argument("runs", nargs=-1, required=True, type=FOLDER, metavar="RUN…")
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Choice(TABLES),
    help="Which table; may be repeated.  [default: all]",
)
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
    type=click.Choice(["table", "md", "csv", "json"]),
    default="table",
    help="csv and json hold plain numbers, one row for each backend.",
)
def show(
    runs: tuple[Path, ...],
    *,
    tables: tuple[str, ...],
    columns: str,
    sort: str | None,
    reverse: bool,
    table_format: str,
) -> None:
    """Show the tables of the runs in RUN…, and a bar for each round."""
    from nnbench.show import view

    names = [name for text in columns.split(",") if (name := text.strip())]
    descending = sort is not None and sort.startswith("-")
    views = view.read(
        runs,
        tables=tables,
        columns=names,
        sort=sort if sort is None else sort.removeprefix("-"),
        reverse=reverse != descending,
    )
    printers = {"table": print_table, "md": print_markdown, "csv": print_csv, "json": print_json}
    printers[table_format](views)


def print_table(views: list[View]) -> None:
    """Print tables for the terminal."""
    from nnbench.show.output import Terminal
    from nnbench.show.terminal import print_tables

    terminal = Terminal()
    for view in views:
        if views[1:]:
            terminal.print(str(view.folder), style="bold", markup=False, highlight=False)
        print_tables(terminal, view.sections, view.frame, view.folder)


def print_markdown(views: list[View]) -> None:
    """Print Markdown, with a heading for each run if there are several."""
    from nnbench.show.markdown import code

    for view in views:
        if views[1:]:
            click.echo(f"## {code(str(view.folder))}\n")
        click.echo(view.markdown())


def print_csv(views: list[View]) -> None:
    """Print one line for each backend."""
    from nnbench.show import view
    from nnbench.show.exports.samples import csv_text

    rows = view.records(views)
    click.echo(csv_text([list(rows[0]), *(row.values() for row in rows)]) if rows else "", nl=False)


def print_json(views: list[View]) -> None:
    """Print one object for each backend."""
    import msgspec

    from nnbench.show import view

    click.echo(msgspec.json.format(msgspec.json.encode(view.records(views))))
