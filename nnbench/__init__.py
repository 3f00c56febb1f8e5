"""Train the same neural network on interchangeable backends; compare accuracy and time.

These names are what a plugin needs. Importing them loads no numerical library.
"""

from nnbench.backend import Backend, Network, Option
from nnbench.datasets import Dataset, Splits
from nnbench.errors import BackendUnavailableError, NnbenchError
from nnbench.hookspecs import hookimpl
from nnbench.spec import Examples, Layer, NetworkSpec, Optimizer, minibatches
from nnbench.workloads import Workload

__all__ = [
    "Backend",
    "BackendUnavailableError",
    "Dataset",
    "Examples",
    "Layer",
    "Network",
    "NetworkSpec",
    "NnbenchError",
    "Optimizer",
    "Option",
    "Splits",
    "Workload",
    "hookimpl",
    "minibatches",
]
