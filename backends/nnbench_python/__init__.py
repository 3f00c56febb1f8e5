"""The ``python`` backend: loops over lists of floats, with the standard library alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench import Backend, hookimpl

if TYPE_CHECKING:
    from nnbench import NetworkSpec
    from nnbench_python.network import PythonNetwork


def create(spec: NetworkSpec) -> PythonNetwork:
    """Import the implementation only when a cell starts."""
    from nnbench_python.network import PythonNetwork

    return PythonNetwork(spec)


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``python``."""
    summary = "loops over the standard library's types, zeros skipped"
    return [Backend(name="python", summary=summary, create=create, skips_zeros=True)]
