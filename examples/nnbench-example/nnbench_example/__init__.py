"""The ``example`` backend of nnbench: every command imports this module, so nothing heavy here."""

from nnbench import Backend, hookimpl


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``example``."""
    backend = Backend(
        name="example",
        summary="NumPy, one array expression after the other",
        create="nnbench_example.network:ExampleNetwork",
        requires=("numpy",),  # what you train with, as pip names it
    )
    return [backend]
