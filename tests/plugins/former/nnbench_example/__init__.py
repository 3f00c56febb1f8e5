"""The ``example`` backend of nnbench.

This module is imported by every command, so it imports nothing heavy.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from nnbench import Backend, hookimpl

if TYPE_CHECKING:
    from nnbench import NetworkSpec

    from nnbench_example.network import ExampleNetwork

LIBRARY = "numpy"  # the one that you train with


def create(spec: NetworkSpec) -> ExampleNetwork:
    """Import the library only when a cell starts.

    Raise ``nnbench.BackendUnavailableError`` here, with the reason in one line, for a network that
    the library cannot train.
    """
    from nnbench_example.network import ExampleNetwork

    return ExampleNetwork(spec)


def why_unavailable() -> str | None:
    """Return why the backend can't run here, in one line, or None; without importing the library."""
    if find_spec(LIBRARY) is None:
        return f"{LIBRARY} is not installed: pip install {LIBRARY}"
    return None


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``example``."""
    return [
        Backend(
            name="example",
            summary="NumPy, one array expression after the other",
            create=create,
            unavailable=why_unavailable,
            libraries=(LIBRARY,),
        )
    ]
