"""Cells for tests to run, and those that did."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import structs

from nnbench import Backend, Examples, catalog
from nnbench.data.workloads import derive
from nnbench.execution import cell
from nnbench.execution.assignment import Assignment
from nnbench.execution.cell import Spool
from nnbench.execution.loading import load
from nnbench.records.cells import CellSpec, Deviations, Limits
from nnbench.records.judging import Evaluation
from nnbench.records.runs import Point
from nnbench.records.worker import Stored, StoredExamples
from nnbench.runs import store
from nnbench.runs.sweep import Sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nnbench.contract.backend import Precision
    from nnbench.data.workloads import Workload
    from nnbench.records.cells import CellResult
    from nnbench.records.events import Event
    from nnbench.records.worker import StoredSplits
    from nnbench.runs.run import Run

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


class Lenient:
    """Allows parts of any length, and finds all parameters equally good."""

    def limits(self, precision: Precision, *, from_parameters: bool) -> Limits:
        """Return what nothing is longer than."""
        del precision, from_parameters
        return Limits(steps=1 << 30, tolerance=Deviations(loss=None, displacement=None))

    def evaluate(self, offset: int) -> Evaluation:
        """Return the same, whatever lies there."""
        del offset
        return Evaluation(0.5, None)


@cache
def stored(workload: Workload) -> StoredSplits:
    """Load a dataset once for all tests."""
    return load(workload)


def load_again(workload: Workload) -> StoredSplits:
    """Return the same with descriptors of its own, as if it were loaded anew, which takes a process."""
    splits = stored(workload)

    def duplicate(array: Stored | None) -> Stored | None:
        return array and structs.replace(array, descriptor=os.dup(array.descriptor))

    train, test = (
        StoredExamples(*(duplicate(getattr(split, name)) for name in Examples._fields))
        for split in (splits.train, splits.test)
    )
    return structs.replace(splits, train=train, test=test)


def run_worker(
    spec: CellSpec, on_event: Callable[[Event], object] = lambda _: None
) -> SimpleNamespace:
    """Run a cell in a process of its own, and return what its result has of it."""
    assignment = Assignment(spec.workload, spec.seed or 0, stored(spec.workload))
    backend = Backend(name=spec.backend, summary="", create=pytest.fail)
    with (
        closing(Spool()) as spool,
        cell.run(spec, assignment, backend, spool, Lenient()) as (events, run),
    ):
        for event in events:
            on_event(event)
    return SimpleNamespace(**run.values)


def points_of_toy(*hidden: int) -> list[Point]:
    """Return points that differ in the width of a hidden layer."""
    toy = replace(TOY, epochs=1)
    return [Point(workload=derive(toy, {"hidden": (width,)}), threads=1) for width in hidden]


def whole(run: Run) -> Sweep:
    """Return a run of one point as commands have it, which may be one of several."""
    found = Sweep(run.info, [], run.folder)
    found.runs = [run]
    return found


def read_final(folder: Path) -> list[CellResult]:
    """Return the attempts that count, with all their losses."""
    return [cell for cell in store.read_cells(folder) if cell.final]
