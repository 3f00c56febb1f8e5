"""What is installed, as records without code: ``nnbench list`` prints them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Literal

from nnbench import plugins, registry
from nnbench.contract.backend import Option
from nnbench.contract.errors import PluginError
from nnbench.plugins import Plugin
from nnbench.registry import KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """A workload or a dataset."""

    name: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendItem(Item):
    """A backend."""

    device: Literal["cpu", "cuda"]  #: where it trains
    unavailable: str | None  #: why it can't run here
    options: dict[str, Option]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginItem(Plugin):
    """A plugin and what it brings."""

    brings: dict[str, list[str]]  #: names by kind: backends, workloads, datasets, events


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Everything that the registry knows."""

    backends: list[BackendItem]
    workloads: list[Item]
    datasets: list[Item]
    plugins: list[PluginItem] = field(default_factory=list)


def installed() -> Listing:
    """List what is installed here."""
    return Listing(
        backends=[
            BackendItem(
                name=backend.name,
                summary=backend.summary,
                device=backend.device,
                unavailable=registry.why_unavailable(backend),
                options=dict(backend.options),
            )
            for backend in registry.backends().values()
        ],
        workloads=[Item(name=w.name, summary=w.summary) for w in registry.workloads().values()],
        datasets=[Item(name=d.name, summary=d.summary) for d in registry.datasets().values()],
        plugins=[describe(plugin) for plugin in plugins.installed()],
    )


def describe(plugin: Plugin) -> PluginItem:
    """Tell what a plugin brings."""
    brings = {"events": plugins.observed_by(plugin)}
    problems = [plugin.left_out] if plugin.left_out else []
    for kind in KINDS:
        try:
            brings[kind] = registry.listed_by(plugin, kind)
        except PluginError as error:
            problems.append(f"{kind}: {error}")
    found = {kind: names for kind, names in brings.items() if names}
    return PluginItem(
        **{**asdict(plugin), "left_out": "; ".join(problems) or None},
        brings=found,
    )
