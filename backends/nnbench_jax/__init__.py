"""The ``jax`` backend: a compiled loop over the steps of an epoch, on the CPU."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from nnbench import Backend, hookimpl

if TYPE_CHECKING:
    from nnbench import NetworkSpec
    from nnbench_jax.network import JaxNetwork


def create(spec: NetworkSpec) -> JaxNetwork:
    """Import JAX with as many threads as the harness asks for.

    XLA reads the size of its pool from NPROC, and takes all CPUs that the process may use
    without it.
    """
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    if threads := os.environ.get("OMP_NUM_THREADS"):
        os.environ.setdefault("NPROC", threads)
    from nnbench_jax.network import JaxNetwork

    return JaxNetwork(spec)


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``jax``."""
    return [
        Backend(
            name="jax",
            summary="JAX on the CPU: autodiff, a compiled loop over the steps of an epoch",
            create=create,
            requires=("jax", "jaxlib"),
            environment=("JAX_PLATFORMS", "NPROC"),
        )
    ]
