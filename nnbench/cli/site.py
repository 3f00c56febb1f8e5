"""``nnbench site``: published runs as pages that any server of files can serve."""

from __future__ import annotations

from pathlib import Path

import click

from nnbench.cli.options import FOLDER, echo_line
from nnbench.show import charts


@click.command()
@click.argument("folders", nargs=-1, type=FOLDER, metavar="[FOLDER…]")
@click.option(
    "--output",
    "-o",
    type=FOLDER,
    default=Path("site"),
    help="The folder of the pages: new, empty, or one of before.",
)
def site(folders: tuple[Path, ...], *, output: Path) -> None:
    """Write runs as a static site: a leaderboard, and a page each.

    Each FOLDER holds runs, or is one; without any it is ``results``. Any server of files can serve what is written, and nothing on
    its pages comes from elsewhere. Called again, it makes the pages of new runs, and of those that have changed.
    """
    charts.require_libraries()
    from nnbench.runs import store
    from nnbench.show import site as sites
    from nnbench.show.text import count

    made = sites.make(folders or (store.RESULTS,), output)
    for line in made.notes:
        echo_line(f"nnbench: note: {line}", err=True)
    new = f"{count(made.pages, 'new page')} of {count(made.runs, 'run')}"
    echo_line(f"Site: {output / sites.HOME} ({new})")
