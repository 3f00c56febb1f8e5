"""``nnbench list``: the backends, workloads and datasets that are installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nnbench.catalog import Plugin


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--plugins", is_flag=True, help="Show also what brings them.")
def list_(*, as_json: bool, plugins: bool) -> None:
    """List backends (and why one can't run here), workloads and datasets."""
    import msgspec

    from nnbench.catalog import installed
    from nnbench.selection import spell

    found = installed()
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)))
        return
    show("Backends", [(b.name, b.unavailable, b.summary) for b in found.backends])
    for backend in found.backends:
        for key, option in backend.options.items():
            click.echo(f"    {backend.name}[{key}={spell(option.default)}]  {option.help}")
    show("Workloads", [(w.name, None, w.summary) for w in found.workloads])
    show("Datasets", [(d.name, None, d.summary) for d in found.datasets])
    if plugins:
        show("Plugins", [(p.name, None, explain(p)) for p in found.plugins])


def show(title: str, rows: list[tuple[str, str | None, str]]) -> None:
    """Print one section; a reason replaces the summary of what is not available."""
    click.echo(f"{title}:")
    width = max((len(name) for name, _, _ in rows), default=0)
    for name, reason, summary in rows:
        click.echo(f"  {name:{width}}  {f'unavailable: {reason}' if reason else summary}")


def explain(plugin: Plugin) -> str:
    """Say where a plugin comes from, what it brings, and what is wrong with it."""
    found = [f"{kind} {', '.join(names)}" for kind, names in plugin.brings.items()]
    if plugin.left_out:
        found.append(f"left out: {plugin.left_out}")
    return f"{plugin.origin} ({plugin.module}): {'; '.join(found) or 'brings nothing'}"
