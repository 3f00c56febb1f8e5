"""The ``numba`` backend: a whole epoch compiled from Python loops, zeros skipped."""

from nnbench import Backend, hookimpl


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``numba``."""
    return [
        Backend(
            name="numba",
            summary="compiled loops over the inputs that are not zero, a whole epoch in one call",
            create="nnbench_numba.network:NumbaNetwork",
            requires=("numba",),
            libraries=("numba", "llvmlite", "numpy", "scipy"),
            skips_zeros=True,
        )
    ]
