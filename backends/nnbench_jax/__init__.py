"""The ``jax`` backend: a compiled loop over the steps of an epoch, on the CPU."""

from nnbench import Backend, hookimpl


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``jax``."""
    return [
        Backend(
            name="jax",
            summary="JAX on the CPU: autodiff, a compiled loop over the steps of an epoch",
            create="nnbench_jax.network:JaxNetwork",
            requires=("jax", "jaxlib"),
        )
    ]
