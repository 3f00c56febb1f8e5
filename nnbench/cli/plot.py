"""``nnbench plot``: a figure of a run, for papers and READMEs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nnbench import files
from nnbench.cli.options import FILE, FOLDER, POSITIVE_NUMBER

if TYPE_CHECKING:
    from pathlib import Path

    from nnbench.show.charts.theme import Theme

FIGURES = ("ratios", "accuracy", "rounds", "loss", "phases", "ceiling")


@click.command()
@click.argument("run", type=FOLDER)
@click.option(
    "--output", "-o", type=FILE, required=True, help="A name that ends with .png or .svg."
)
@click.option("--figure", "-f", type=click.Choice(FIGURES), default="ratios", help="What to draw.")
@click.option("--theme", "look", type=click.Choice(["light", "dark"]), default="light")
@click.option(
    "--scale", type=POSITIVE_NUMBER, default=2.0, help="Size of a PNG, times that of the screen."
)
def plot(run: Path, *, output: Path, figure: str, look: Theme, scale: float) -> None:
    """Draw a figure of the run in a folder, the same as on the page of ``nnbench report``."""
    from nnbench.show import charts as report

    report.require_libraries()
    from nnbench.show import facts, source
    from nnbench.show.charts import pictures, theme
    from nnbench.show.charts.figures import FIGURES

    pictures.check_suffix(output)
    found = source.read(run)
    drawn = FIGURES[figure](found, theme.colors(found.info.backends))
    pictures.draw(drawn, output, facts.subtitle(found), look, scale)
    if not files.is_stream(output):
        click.echo(f"Figure: {output}")
