"""``nnbench report``: one HTML page of some runs."""

from __future__ import annotations

from pathlib import Path

import click

from nnbench import files
from nnbench.cli.options import FILE, FOLDER


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=FOLDER)
@click.option("--output", "-o", type=FILE, default=Path("report.html"), help="The page.")
def report(runs: tuple[Path, ...], *, output: Path) -> None:
    """Write the runs in some folders as one HTML page: tables, charts, machine, versions.

    The page needs nothing else: it can be mailed, opened offline and on a phone, and printed.
    """
    from nnbench.show import charts

    charts.require_libraries()
    from nnbench.show import page, source

    files.write_output(output, page.render([source.read(run) for run in runs]).encode())
    if not files.is_stream(output):
        click.echo(f"Report: {output}")
