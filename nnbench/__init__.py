"""Train the same neural network on interchangeable backends; compare accuracy and time.

These names are what a plugin needs. Importing them loads no numerical library. ``nnbench.open`` opens the folder of a run for
pandas (:mod:`nnbench.analysis`), and loads what that takes when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from nnbench.contract import hookimpl
from nnbench.contract.backend import Backend, Model, Network, Option
from nnbench.contract.errors import BackendUnavailableError, NnbenchError
from nnbench.contract.spec import (
    Examples,
    Layer,
    NetworkSpec,
    Optimizer,
    OptimizerState,
    flatten,
    minibatches,
)
from nnbench.data.datasets import Dataset, Splits
from nnbench.data.workloads import Workload

if TYPE_CHECKING:
    from nnbench.analysis import open_run as open  # noqa: A004 - in this package it is a run's

__all__ = [
    "Backend",
    "BackendUnavailableError",
    "Dataset",
    "Examples",
    "Layer",
    "Model",
    "Network",
    "NetworkSpec",
    "NnbenchError",
    "Optimizer",
    "OptimizerState",
    "Option",
    "Splits",
    "Workload",
    "flatten",
    "hookimpl",
    "minibatches",
    "open",
]


def __getattr__(name: str) -> Any:
    """Import what is rarely asked for, and takes long."""
    if name == "open":
        from nnbench.analysis import open_run

        return open_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
