"""The ``python`` backend: lists of floats and big integers, with the standard library alone."""

from pkgutil import resolve_name
from typing import Any

from nnbench import Backend, Model, NetworkSpec, Option, hookimpl

NETWORKS = {
    "bigint": "nnbench_python.bigint:BigintNetwork",
    "loops": "nnbench_python.loops:LoopsNetwork",
}
HELP = "a big integer for each row of weights, or loops over lists of floats"


def create(spec: NetworkSpec, *, kernel: str = "bigint") -> Model[Any, Any]:
    """Make the network of one of the two kernels."""
    made: Model[Any, Any] = resolve_name(NETWORKS[kernel])(spec)
    return made


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``python``."""
    return [
        Backend(
            name="python",
            summary="the standard library alone: big integers hold rows of weights, zeros skipped",
            create=create,
            options={"kernel": Option("bigint", HELP, tuple(NETWORKS))},
            skips_zeros=True,
        )
    ]
