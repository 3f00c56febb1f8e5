"""The ``numba`` backend: a whole epoch compiled from Python loops, zeros skipped."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from nnbench import Backend, hookimpl

if TYPE_CHECKING:
    from nnbench import NetworkSpec
    from nnbench_numba.network import NumbaNetwork


def create(spec: NetworkSpec) -> NumbaNetwork:
    """Import Numba only when a cell starts."""
    from nnbench_numba.network import NumbaNetwork

    return NumbaNetwork(spec)


def why_no_numba() -> str | None:
    """Return why Numba can't run, or None."""
    if find_spec("numba") is None:
        return "numba is not installed: pip install 'nnbench-harness[numba]'"
    return None


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``numba``."""
    return [
        Backend(
            name="numba",
            summary="compiled loops over the inputs that are not zero, a whole epoch in one call",
            create=create,
            unavailable=why_no_numba,
            libraries=("numba", "llvmlite", "numpy", "scipy"),
            skips_zeros=True,
        )
    ]
