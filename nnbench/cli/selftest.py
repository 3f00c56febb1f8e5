"""``nnbench selftest``: find out what this machine can tell apart."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nnbench.cli.options import command_line, option, options
from nnbench.cli.run import execute, without_plugins
from nnbench.contract.errors import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.runs.run import Run


@click.command()
@click.option("--backend", "-b", default="numpy", help="What to run; the quickest is best.")
@option("workload", help="What to train.")
@option("rounds", help="Blocks.", default=10, type=click.IntRange(min=6))
@options("seed", "proof")
@option("threads", help="CPU threads of each cell.")
@option("output", shown="results/<time>-selftest")
@option("progress")
@without_plugins
def selftest(
    *,
    backend: str,
    output: Path | None,
    progress: bool,
    **asked: Any,
) -> NoReturn:
    """Measure the noise floor of this machine, and the smallest slowdown that is found.

    Runs one backend under several names, three of them equal and the others slowed down by known
    shares. The floor is kept for this machine, and ``run`` and ``compare`` use it.
    """
    from nnbench.runs import selftest, store

    plan = selftest.plan(
        backend,
        command=command_line(),
        overrides={},
        budget=60.0,
        timeout=300.0,
        **asked,
    )
    folder = output or store.default_folder(plan.info, "selftest")
    sys.exit(execute(plan, folder, progress=progress, conclude=conclude))


def conclude(run: Run) -> ExitCode:
    """Keep the floor; print it, every comparison, and the smallest slowdown that was found."""
    from nnbench.execution.machine import FLOORS
    from nnbench.runs import selftest
    from nnbench.show.text import Sheet, markdown

    floor, trials = selftest.evaluate(run.cells)
    kept = FLOORS.save(run.info.environment, floor)
    rows = []
    for trial in trials:
        c = trial.comparison
        bounds = f"{c.interval.low:.3f} to {c.interval.high:.3f}" if c.interval else ""
        injected = f"{trial.share:.0%}" if trial.share else "none"
        rows.append([trial.name, injected, f"{c.ratio:.3f}", bounds, c.verdict])
    headings = ["compared", "injected", "ratio", "95% interval", "verdict"]
    click.echo(markdown(Sheet("", headings, rows)))
    smallest = selftest.smallest_found(trials)
    found = f"{smallest:.0%}" if smallest else "none of those injected"
    click.echo(f"Noise floor: {floor:.1%}. Smallest slowdown found, with all larger: {found}.")
    click.echo(f"\nThe floor is kept in {kept}; the cells are in {run.folder}.")
    return ExitCode.OK
