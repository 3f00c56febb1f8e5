"""Cells for tests to run, and those that did."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from nnbench import catalog
from nnbench.execution import process
from nnbench.records import CellSpec
from nnbench.runs import store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nnbench.records import CellResult, Event

TOY = catalog.workloads()["toy-sigmoid"]


def make_spec(backend: str = "numpy", **changes: Any) -> CellSpec:
    """Ask for a cell of the toy, on any CPU."""
    spec = CellSpec(
        label=backend,
        backend=backend,
        options={},
        workload=TOY,
        round=0,
        seed=0,
        threads=1,
        cpus=(),
        budget_s=5.0,
        timeout_s=60.0,
    )
    return replace(spec, **changes)


def run_worker(
    spec: CellSpec, on_event: Callable[[Event], object] = lambda _: None
) -> SimpleNamespace:
    """Run a cell in a process of its own, and return what its result has of its events."""
    with process.run_worker(spec) as (events, values):
        for event in events:
            on_event(event)
    return SimpleNamespace(**values)


def read_final(folder: Path) -> list[CellResult]:
    """Return the attempts that count, with all their losses."""
    return [cell for cell in store.read_cells(folder) if cell.final]
