"""``nnbench list``, ``info`` and ``new``: what is installed here, on what machine, and one more."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from nnbench.cli.options import FOLDER, echo_json, echo_line
from nnbench.config.schema import FILES
from nnbench.texts import one_line, safe

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from nnbench.catalog.listings import BackendItem, ExecutorItem, Plugin
    from nnbench.execution.fitness import Finding


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--plugins", is_flag=True, help="Show also what brings them.")
def list_(*, as_json: bool, plugins: bool) -> None:
    """List backends, workloads, datasets and executors.

    A backend that cannot run here says why.
    """
    from nnbench.catalog.listings import ExecutorItem
    from nnbench.execution import listing
    from nnbench.execution.executor import LocalExecutor

    with listing.relied_on() as found:
        local = ExecutorItem(name=LocalExecutor.name, summary=LocalExecutor.summary)
        everything = replace(found, executors=[*found.executors, local])
    if as_json:
        echo_json(everything)
        return
    backends = everything.backends
    section("Backends", [(b.name, b.unavailable, b.summary + alone(b)) for b in backends])
    parameters(backends)
    section("Workloads", [(w.name, None, w.summary) for w in everything.workloads])
    section("Datasets", [(d.name, None, d.summary) for d in everything.datasets])
    section("Executors", [(e.name, e.unavailable, e.summary) for e in everything.executors])
    parameters(everything.executors)
    if plugins:
        section("Plugins", [(p.name, None, explain(p)) for p in everything.plugins])


def parameters(items: Iterable[BackendItem | ExecutorItem]) -> None:
    """Print what can be set of each item, with the default."""
    from nnbench.selection import spell

    for item in items:
        for key, option in item.options.items():
            name = one_line(f"{item.name}[{key}={spell(option.default)}]")
            click.echo(f"    {name}  {one_line(option.help)}")


def section(title: str, rows: list[tuple[str, str | None, str]]) -> None:
    """Print one section; a reason replaces the summary of what is not available."""
    click.echo(f"{title}:")
    names = [one_line(name) for name, _, _ in rows]
    width = max(map(len, names), default=0)
    for name, (_, reason, summary) in zip(names, rows, strict=True):
        text = f"unavailable: {reason}" if reason else summary
        click.echo(f"  {name:{width}}  {one_line(text)}")


def alone(backend: BackendItem) -> str:
    """Say of a backend that is none of ``all`` that it is not."""
    return " (not in all)" if backend.named_only else ""


def explain(plugin: Plugin) -> str:
    """Say where a plugin comes from, what it brings, and what is wrong with it."""
    parts = [f"{kind} {', '.join(names)}" for kind, names in plugin.brings.items()]
    if plugin.left_out:
        parts.append(f"left out: {plugin.why_left_out}")
    return f"{plugin.origin} ({plugin.module}): {'; '.join(parts) or 'brings nothing'}"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--check", is_flag=True, help="Show instead whether this machine is fit to measure on."
)
@click.option("--workload", "-w", help="Print this workload instead, as TOML for run --workload.")
@click.option(
    "--schema",
    "kind",
    type=click.Choice(list(FILES)),
    help="Print the JSON Schema of these TOML files instead.",
)
def info(*, as_json: bool, check: bool, workload: str | None, kind: str | None) -> None:
    """Show the machine, the versions, the threads and the GPUs.

    With --check: what may spoil times here, what that costs, and what mends it. It watches for a
    second who computes, and ends with 0 whatever it finds.
    """
    if (as_json or check) + (workload is not None) + (kind is not None) > 1:
        raise click.UsageError("--workload, --schema, and --json or --check exclude one another")
    from nnbench.config import files, schema
    from nnbench.execution import listing

    if workload is not None:
        with listing.relied_on():
            text = files.spell_workload(files.find_workload(workload))
        click.echo(text, nl=False)
    elif kind:
        echo_json(schema.make(kind))
    elif check:
        show_fitness(as_json=as_json)
    else:
        show_machine(as_json=as_json)


def show_machine(*, as_json: bool) -> None:
    """Print what results depend on."""
    import msgspec

    from nnbench.execution import listing, machine

    with listing.relied_on() as found:
        libraries = {name for backend in found.backends for name in backend.libraries}
    here = msgspec.to_builtins(machine.examine(libraries))
    if as_json:
        echo_json(here)
        return
    here["versions"] = ", ".join(f"{k} {v}" for k, v in here["versions"].items())
    here["gpus"] = ", ".join(here["gpus"]) or "none found"
    here["memory"] = f"{here.pop('memory_bytes') / 2**30:.1f} GiB"
    for key, value in here.items():
        text = one_line("none" if value is None else str(value))
        click.echo(f"{key.replace('_', ' '):15} {text}")


def show_fitness(*, as_json: bool) -> None:
    """Print whether the machine is fit to measure on, and what would make it so."""
    from nnbench.execution.fitness import State
    from nnbench.show.terminal import Terminal, print_sheet, say
    from nnbench.show.text import Sheet

    found = find_fitness()
    if as_json:
        echo_json(found)
        return
    terminal = Terminal()
    rows = [[each.subject, str(each.state), each.found] for each in found]
    print_sheet(
        terminal, Sheet("Is this machine fit to measure on?", ["what", "fit", "found"], rows)
    )
    for each in found:
        if each.costs or each.mend:
            say(terminal, ": ".join(filter(None, [each.subject, each.costs, each.mend])))
    costly = sum(each.state is State.COSTS for each in found)
    unknown = sum(each.state is State.UNKNOWN for each in found)
    say(terminal, f"{costly} of {len(found)} cost something, {unknown} unknown")


def find_fitness() -> list[Finding]:
    """Return what is found of this machine, for cells of one thread of any backend."""
    import os

    from nnbench import catalog
    from nnbench.execution import fitness, gpu, listing, machine, variables

    with listing.relied_on() as found:
        libraries = {name for backend in found.backends for name in backend.libraries}
        named = {name for each in catalog.backends().values() for name in each.environment}
    place = fitness.Place(
        cpus=machine.usable_cpus(),
        uses_gpu=bool(gpu.names()),
        tuning=variables.tuning(variables.dropped(os.environ, named), libraries),
    )
    return fitness.examine(place, machine.examine(libraries))


@click.command()
@click.argument("name")
@click.option("--directory", "-d", type=FOLDER, help="Where to write it.  [default: nnbench-NAME]")
def new(*, name: str, directory: Path | None) -> None:
    """Write a plugin with a backend called NAME.

    It works as it is, for you to make it your own.
    """
    from nnbench import scaffold
    from nnbench.execution import listing

    with listing.relied_on():
        folder = scaffold.create(name, directory)
    echo_line(f"Wrote a plugin to {folder}/. Next:")
    for command in (
        ["pip", "install", "--editable", str(folder)],
        ["nnbench", "test", name],
        ["nnbench", "run", "--backends", f"numpy,{name}"],
    ):
        click.echo(f"  {safe(shlex.join(command))}")
