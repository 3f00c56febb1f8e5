"""Cells for tests to run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from nnbench import catalog
from nnbench.records import CellSpec

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
