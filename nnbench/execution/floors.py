"""The noise floor of each machine: what ``nnbench selftest`` measured, kept for ``compare``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench.execution.keeping import Store
from nnbench.records import DEFAULT_FLOOR

if TYPE_CHECKING:
    from nnbench.records import Environment

FLOORS = Store("noise-floors.json", float)


def load(environment: Environment) -> float:
    """Return a machine's floor, a fraction; the default where it was never measured."""
    floor = FLOORS.load(environment)
    return DEFAULT_FLOOR if floor is None else floor
