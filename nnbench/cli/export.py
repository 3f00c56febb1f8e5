"""``nnbench export``: a run in the formats of other tools."""

from __future__ import annotations

import os
from pathlib import Path

import click

from nnbench import files
from nnbench.cli.options import FILE, FOLDER
from nnbench.show.exports import BINARY, FORMATS, convert


@click.command("export")
@click.argument("run", type=FOLDER)
@click.option("--to", "name", required=True, type=click.Choice(list(FORMATS)), help="The format.")
@click.option(
    "--output",
    "-o",
    type=FILE,
    help="A file; - is standard output.  [default: standard output; a step-summary is added to "
    "$GITHUB_STEP_SUMMARY if that is set]",
)
def export_(run: Path, *, name: str, output: Path | None) -> None:
    """Write the run in RUN in a format that another tool reads."""
    if name in BINARY and output in {None, files.STDOUT}:
        raise click.UsageError(f"{name} is no text: name a file with --output")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    content = convert(run, name)
    if output is None and name == "step-summary" and summary:
        files.write_output(Path(summary), content, add=True)
    else:
        files.write_output(output or files.STDOUT, content)
