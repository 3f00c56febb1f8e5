"""A plugin with a backend whose name is taken."""

from nnbench import Backend, hookimpl


@hookimpl
def nnbench_backends():
    return [Backend(name="numpy", summary="another one", create=lambda _: None)]  # type: ignore[return-value]  # never called
