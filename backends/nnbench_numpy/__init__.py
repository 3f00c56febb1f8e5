"""The ``numpy`` backend: array expressions into preallocated buffers."""

from nnbench import Backend, hookimpl


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``numpy``."""
    return [
        Backend(
            name="numpy",
            summary="float32 arrays into preallocated buffers",
            create="nnbench_numpy.network:NumpyNetwork",
            requires=("numpy",),
        )
    ]
