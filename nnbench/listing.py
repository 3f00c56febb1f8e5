"""What is installed, as records without code: ``nnbench list`` prints them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nnbench import registry
from nnbench.backend import Option


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
class Listing:
    """Everything that the registry knows."""

    backends: list[BackendItem]
    workloads: list[Item]
    datasets: list[Item]


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
    )
