"""``nnbench clean``: show, or remove, what nnbench has left on disk beside results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nnbench.cli.options import FOLDER

if TYPE_CHECKING:
    from pathlib import Path

HEADINGS = ["what", "written", "size", "where"]


@click.command()
@click.argument("runs", nargs=-1, type=FOLDER)
@click.option("--remove", is_flag=True, help="Remove what is listed.")
def clean(runs: tuple[Path, ...], *, remove: bool) -> None:
    """List, or remove, caches, environments and kept states.

    The environments are those of ``nnbench continuous``; what is needed again is made again. Of RUNS
    the kept states go, without which ``nnbench prove`` cannot judge them again; results stay. Not
    while another nnbench runs.
    """
    from nnbench.runs import leftovers
    from nnbench.show.terminal import Terminal, print_sheet, say
    from nnbench.show.text import Sheet, bytes_text

    terminal, found = Terminal(), list(leftovers.find(runs))
    if not found:
        say(terminal, "nothing is left to clean")
        return
    sizes = [each.size for each in found]
    rows = [
        [each.kind, f"{each.changed:%Y-%m-%d}", bytes_text(size), str(each.path)]
        for each, size in zip(found, sizes, strict=True)
    ]
    print_sheet(terminal, Sheet("What nnbench left beside results", HEADINGS, rows))
    if not remove:
        say(terminal, f"{bytes_text(sum(sizes))} in all; the same with --remove removes it")
        return
    for each in found:
        each.remove()
    say(terminal, f"removed, {bytes_text(sum(sizes))} in all")
