"""``nnbench list``: the backends, workloads and datasets that are installed."""

from __future__ import annotations

import click


@click.command("list")
def list_() -> None:
    """List backends (and why one can't run here), workloads and datasets."""
    from nnbench import registry
    from nnbench.selection import spell

    backends = registry.backends().values()
    show("Backends", [(b.name, registry.why_unavailable(b), b.summary) for b in backends])
    for backend in backends:
        for key, option in backend.options.items():
            click.echo(f"    {backend.name}[{key}={spell(option.default)}]  {option.help}")
    show("Workloads", [(w.name, None, w.summary) for w in registry.workloads().values()])
    show("Datasets", [(d.name, None, d.summary) for d in registry.datasets().values()])


def show(title: str, rows: list[tuple[str, str | None, str]]) -> None:
    """Print one section; a reason replaces the summary of what is not available."""
    click.echo(f"{title}:")
    width = max((len(name) for name, _, _ in rows), default=0)
    for name, reason, summary in rows:
        click.echo(f"  {name:{width}}  {f'unavailable: {reason}' if reason else summary}")
