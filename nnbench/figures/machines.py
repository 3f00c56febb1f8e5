"""Kinds of machines: absolute times of one kind can stand in one figure, those of two cannot.

What a kind is, :attr:`nnbench.records.runs.Environment.kind` says; here each gets a name, and its machines of a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from nnbench.records.cells import CellResult
    from nnbench.records.runs import Environment, RunInfo

#: Units of what a name holds without its trait.
UNITS = {
    "cores": "cores",
    "logical cores": "logical cores",
    "GiB of memory": "GiB of memory",
}
WITHOUT_TRAIT = ("CPU", "GPUs", "system", "Python")  #: whose value says what it is


def by_machine(info: RunInfo) -> dict[str, str]:
    """Return the kind of each machine of a run, as an environment identifies it."""
    return {name: machine.environment.kind for name, machine in info.machines.items()}


def are_several(info: RunInfo, cells: Iterable[CellResult]) -> bool:
    """Tell whether cells with figures are of several kinds."""
    found = by_machine(info)
    if len({*found.values()}) < 2:
        return False
    return len({found[c.machine] for c in cells if c.status.counts and c.machine in found}) > 1


def called(info: RunInfo) -> dict[str, str]:
    """Return what the kind of each machine of a run is called."""
    kinds = by_machine(info)
    found = names({kind: info.machines[name].environment for name, kind in kinds.items()})
    return {name: found[kind] for name, kind in kinds.items()}


def kinds(info: RunInfo, cells: Iterable[CellResult]) -> dict[str, list[str]]:
    """Return the machines of each kind that has figures, by the kind's name, in the order of the run."""
    used = {cell.machine for cell in cells if cell.status.counts}
    machines: dict[str, list[str]] = {}
    for name, kind in called(info).items():
        if name in used:
            machines.setdefault(kind, []).append(name)
    return machines


def names(environments: Mapping[str, Environment]) -> dict[str, str]:
    """Name kinds: each is its CPU, and whatever else it takes to tell them apart."""
    words = {kind: _words(environment) for kind, environment in environments.items()}
    telling = ["CPU"]
    for trait in dict.fromkeys(trait for own in words.values() for trait in own):
        more = [*telling, trait]
        if len({*_called(words, more).values()}) > len({*_called(words, telling).values()}):
            telling = more
    found = _called(words, telling)
    if len({*found.values()}) < len(found):  # texts of others can be alike where values are not
        return {kind: f"{name}, {kind[:6]}" for kind, name in found.items()}
    return found


def _called(words: Mapping[str, dict[str, str]], traits: Iterable[str]) -> dict[str, str]:
    """Return names that are made of some traits."""
    return {
        kind: ", ".join(filter(None, (own.get(trait, "") for trait in traits)))
        for kind, own in words.items()
    }


def _words(environment: Environment) -> dict[str, str]:
    """Write each trait of an environment so that it stands for itself; hardware first."""
    found = {}
    for trait, value in environment.traits.items():
        text = ", ".join(value) if isinstance(value, list) else str(value)
        if trait in UNITS:
            found[trait] = f"{text} {UNITS[trait]}" if value is not None else ""
        elif trait in WITHOUT_TRAIT:
            found[trait] = text or f"no {trait}"
        else:
            found[trait] = f"{trait} {text}"
    return found
