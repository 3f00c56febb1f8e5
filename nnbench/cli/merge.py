"""``nnbench merge``: several runs of the same as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nnbench.cli.options import FOLDER, command_line, echo_line

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("runs", metavar="RUN RUN…", nargs=-1, required=True, type=FOLDER)
@click.option("--output", "-o", type=FOLDER, required=True, help="The folder of the new run.")
def merge(runs: tuple[Path, ...], *, output: Path) -> None:
    """Join runs of the same to one, machine by machine.

    Blocks get new numbers, and each cell names its machine. Workload, settings, backends and all versions must be the
    same; machines may differ. Ends with {INCOMPARABLE} if the runs do not go together.
    """
    if len(runs) < 2:
        raise click.UsageError("name two runs or more")
    from nnbench.runs import merging
    from nnbench.show.text import count, write_tables

    info = merging.merge(runs, output, command_line(), write_tables)
    rounds, machines = count(info.rounds, "round"), count(len(info.machines), "machine")
    echo_line(f"Results: {output} ({rounds} of {len(runs)} runs, on {machines})")
