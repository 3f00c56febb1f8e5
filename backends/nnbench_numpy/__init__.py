"""The ``numpy`` backend: array expressions into preallocated buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench import Backend, hookimpl

if TYPE_CHECKING:
    from nnbench import NetworkSpec
    from nnbench_numpy.network import NumpyNetwork


def create(spec: NetworkSpec) -> NumpyNetwork:
    """Import NumPy only when a cell starts."""
    from nnbench_numpy.network import NumpyNetwork

    return NumpyNetwork(spec)


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``numpy``."""
    summary = "float32 arrays into preallocated buffers"
    return [Backend(name="numpy", summary=summary, create=create, libraries=("numpy",))]
