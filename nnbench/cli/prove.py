"""``nnbench prove``: judge a run again, from the states that are kept beside it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from nnbench.cli.options import FOLDER
from nnbench.cli.run import without_plugins
from nnbench.contract.errors import gravest

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.runs.proving import Again

HEADINGS = ["backend", "round", "steps proved", "loss", "displacement", "flips", "now"]


@click.command()
@click.argument("run", type=FOLDER)
@without_plugins
def prove(run: Path) -> NoReturn:
    """Judge the run in RUN again, from its kept states.

    They are there after ``nnbench run --keep-states``. Every step is followed, and nothing is trained. Ends with {ACCURACY} if something is not proved, or is not what was recorded, and with
    {NOTHING_MEASURED} if no cell was judged.
    """
    from nnbench.figures.axes import described
    from nnbench.runs import proving
    from nnbench.runs.sweep import Sweep
    from nnbench.show.terminal import Terminal, print_sheet, say
    from nnbench.show.text import Sheet

    terminal, codes = Terminal(), []
    for point in Sweep.open(run):
        found = list(proving.prove(point))
        title = ", ".join(filter(None, [f"Proof of {run}", described(point.setting)]))
        print_sheet(terminal, Sheet(title, HEADINGS, [cells(each) for each in found]))
        for each in found:
            if each.problem:
                name = f"round {each.before.round + 1} {each.before.backend}"
                say(terminal, f"{name}: {each.problem}")
        codes.append(proving.exit_code(found))
    sys.exit(gravest(codes))


def cells(again: Again) -> list[str]:
    """Return what was found of a cell as the cells of a row."""
    from nnbench.figures.columns import MISSING

    def small(value: float | None) -> str:
        return MISSING if value is None else f"{value:.1e}"

    cell, now = again.before, again.now
    proof: Any = now.proof if now else None
    name = f"{cell.backend} (attempt {cell.attempt + 1})" if cell.attempt else cell.backend
    return [
        name,
        str(cell.round + 1),
        f"{proof.proved:,} of {proof.trained:,}" if proof else MISSING,
        small(proof.deviations.loss if proof else None),
        small(proof.deviations.displacement if proof else None),
        str(proof.flips) if proof else MISSING,
        "not to be judged" if now is None else str(now.status),
    ]
