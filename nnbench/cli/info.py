"""``nnbench info``: the machine and the versions that a result depends on."""

from __future__ import annotations

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--workload", "-w", help="Print this workload instead, as TOML for run --workload.")
@click.option(
    "--schema",
    type=click.Choice(["config", "workload"]),
    help="Print the JSON Schema of these TOML files instead.",
)
def info(*, as_json: bool, workload: str | None, schema: str | None) -> None:
    """Show the machine, the versions, the threads and the GPUs."""
    if as_json + (workload is not None) + (schema is not None) > 1:
        raise click.UsageError("--json, --workload and --schema exclude one another")
    if workload is not None:
        show_workload(workload)
    elif schema:
        show_schema(schema)
    else:
        show_machine(as_json=as_json)


def show_workload(name: str) -> None:
    """Print a workload as TOML."""
    from nnbench.config import files

    click.echo(files.spell_workload(files.find_workload(name)), nl=False)


def show_schema(kind: str) -> None:
    """Print the schema of a file."""
    import msgspec

    from nnbench.config import schema

    click.echo(msgspec.json.format(msgspec.json.encode(schema.make(kind))))


def show_machine(*, as_json: bool) -> None:
    """Print what results depend on."""
    import msgspec

    from nnbench import catalog
    from nnbench.execution import environment

    libraries = {name for b in catalog.backends().values() for name in b.libraries}
    found = msgspec.to_builtins(environment.describe(libraries))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    found["versions"] = ", ".join(f"{k} {v}" for k, v in found["versions"].items())
    found["gpus"] = ", ".join(found["gpus"]) or "none found"
    found["memory"] = f"{found.pop('memory_bytes') / 2**30:.1f} GiB"
    for key, value in found.items():
        click.echo(f"{key.replace('_', ' '):15} {'none' if value is None else value}")
