"""``nnbench export``: a run in the formats of other tools."""

from __future__ import annotations

import os
from pathlib import Path

import click

from nnbench.cli.options import FOLDER
from nnbench.show.exports import BINARY, FORMATS, convert

OUTPUT = click.Path(path_type=Path, dir_okay=False, allow_dash=True)


@click.command("export")
@click.argument("run", type=FOLDER)
@click.option("--to", "name", required=True, type=click.Choice(list(FORMATS)), help="The format.")
@click.option(
    "--output",
    "-o",
    type=OUTPUT,
    help="A file; - is standard output.  [default: standard output; a step-summary is added to "
    "$GITHUB_STEP_SUMMARY if that is set]",
)
def export_(run: Path, *, name: str, output: Path | None) -> None:
    """Write the run in RUN in a format that another tool reads."""
    if name in BINARY and (output is None or str(output) == "-"):
        raise click.UsageError(f"{name} is no text: name a file with --output")
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    content = convert(run, name)
    if output is None and name == "step-summary" and summary:
        with Path(summary).open("ab") as file:
            file.write(content)
    elif output is None or str(output) == "-":
        click.echo(content, nl=False)
    else:
        write(output, content)


def write(path: Path, content: bytes) -> None:
    """Write a file, and make its folder if need be.

    Raises
    ------
    ResultsError
        If it cannot be written.
    """
    from nnbench.contract.errors import ResultsError
    from nnbench.runs import results

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_file():  # such as /dev/stdout
            path.write_bytes(content)
        else:
            results.write(path.resolve(), content)
    except OSError as error:
        raise ResultsError(f"cannot write to {path}: {error.strerror}") from error
