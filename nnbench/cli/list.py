"""``nnbench list``: the backends, workloads and datasets that are installed."""

from __future__ import annotations

import click


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(*, as_json: bool) -> None:
    """List backends (and why one can't run here), workloads and datasets."""
    import msgspec

    from nnbench.listing import installed
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


def show(title: str, rows: list[tuple[str, str | None, str]]) -> None:
    """Print one section; a reason replaces the summary of what is not available."""
    click.echo(f"{title}:")
    width = max((len(name) for name, _, _ in rows), default=0)
    for name, reason, summary in rows:
        click.echo(f"  {name:{width}}  {f'unavailable: {reason}' if reason else summary}")
