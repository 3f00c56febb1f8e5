"""``nnbench new``: write the plugin of a new backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nnbench.cli.options import FOLDER

if TYPE_CHECKING:
    from pathlib import Path


@click.command()
@click.argument("name")
@click.option("--directory", "-d", type=FOLDER, help="Where to write it.  [default: nnbench-NAME]")
def new(*, name: str, directory: Path | None) -> None:
    """Write a plugin with a backend called NAME, which works, for you to make your own."""
    from nnbench import scaffold

    folder = scaffold.create(name, directory)
    click.echo(f"Wrote a plugin to {folder}/. Next:")
    click.echo(f"  pip install --editable '{folder}'")
    click.echo(f"  nnbench test {name}")
    click.echo(f"  nnbench run --backends numpy,{name}")
