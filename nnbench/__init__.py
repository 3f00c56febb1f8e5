"""Train the same neural network on interchangeable backends; compare accuracy and time.

These names are what a plugin needs. Importing them loads no numerical library.
"""

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
]
