"""``nnbench compare``: hold a run against an earlier one, and fail on a regression."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NoReturn

import click

from nnbench.cli.changes import FAIL, STRICT, TABLE_FORMAT, show

RUN = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("base", type=RUN)
@click.argument("new", type=RUN)
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
    from nnbench.execution import floors
    from nnbench.figures import metrics
    from nnbench.runs import comparison

    runs = comparison.read(base), comparison.read(new)
    limits = metrics.parse_gates(gates)
    if not gates:
        limits = metrics.measurable(limits, [cell for run in runs for cell in run.cells]) or limits
    floor = floors.load(runs[1].info.environment)
    changes = comparison.compare(*runs, limits, floor)
    show(changes, table_format)
    if not comparison.same_machine(*runs):
        text = f"different machines: times are relative to {runs[0].info.baseline}"
        click.echo(f"nnbench: {text}", err=True)
    sys.exit(comparison.exit_code(changes, strict=strict))
