"""``nnbench info``: the machine and the versions that a result depends on."""

from __future__ import annotations

import click


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(*, as_json: bool) -> None:
    """Show the machine, the versions, the threads and the GPUs."""
    import msgspec

    from nnbench import environment, registry

    libraries = {name for b in registry.backends().values() for name in b.libraries}
    found = msgspec.to_builtins(environment.describe(libraries))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    found["versions"] = ", ".join(f"{k} {v}" for k, v in found["versions"].items())
    found["gpus"] = ", ".join(found["gpus"]) or "none found"
    found["memory"] = f"{found.pop('memory_bytes') / 2**30:.1f} GiB"
    for key, value in found.items():
        click.echo(f"{key.replace('_', ' '):15} {'none' if value is None else value}")
