"""``nnbench compare``: hold a run against an earlier one, and fail on a regression."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

RUN = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("base", type=RUN)
@click.argument("new", type=RUN)
@click.option(
    "--fail",
    "gates",
    multiple=True,
    metavar="METRIC:LIMIT",
    default=["train_s:5%", "accuracy:0.5pp"],
    help="What may get worse, and by how much. May be repeated.",
)
@click.option("--strict", is_flag=True, help="End with 7 if a comparison is inconclusive.")
@click.option("--table-format", type=click.Choice(["md", "csv", "json"]), default="md")
def compare(
    base: Path, new: Path, *, gates: tuple[str, ...], strict: bool, table_format: str
) -> NoReturn:
    """Compare the run in NEW with the one in BASE, backend by backend.

    Ends with 3 if a time, with 6 if an accuracy got worse: beyond its limit, and with its whole 95%
    interval. With 4 if a backend failed, with 5 if one was not measured.
    """
    from nnbench import comparison, floors, metrics
    from nnbench.cli.changes import show

    runs = comparison.read(base), comparison.read(new)
    parsed = [metrics.parse_gate(text) for text in gates]
    floor = floors.load(runs[1].info.environment)
    changes = comparison.compare(*runs, parsed, floor)
    show(changes, table_format)
    if not comparison.same_machine(*runs):
        text = f"different machines: times are relative to {runs[0].info.baseline}"
        click.echo(f"nnbench: {text}", err=True)
    sys.exit(comparison.exit_code(changes, strict=strict))
