"""The ``python`` backend: lists of floats and big integers, with the standard library alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnbench import Backend, Option, hookimpl

if TYPE_CHECKING:
    from nnbench import NetworkSpec
    from nnbench_python.network import PythonNetwork

KERNEL = Option(
    default="bigint",
    help="a big integer for each row of weights, or loops over lists of floats",
    choices=("bigint", "loops"),
)


def create(spec: NetworkSpec, *, kernel: str = "bigint") -> PythonNetwork[Any]:
    """Make the network of one of the two kernels."""
    if kernel == "loops":
        from nnbench_python.loops import LoopsNetwork

        return LoopsNetwork(spec)
    from nnbench_python.bigint import BigintNetwork

    return BigintNetwork(spec)


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``python``."""
    return [
        Backend(
            name="python",
            summary="the standard library alone: big integers hold rows of weights, zeros skipped",
            create=create,
            options={"kernel": KERNEL},
            skips_zeros=True,
        )
    ]
