"""The ``example`` backend of nnbench: every command imports this module, so nothing heavy here."""

from nnbench import Backend, hookimpl

LIBRARY = "numpy"  # what you train with, as pip names it


@hookimpl
def nnbench_backends() -> list[Backend]:
    """Register ``example``. What else a ``Backend`` can say: ``python -m pydoc nnbench.Backend``."""
    backend = Backend(
        name="example",
        summary=f"{LIBRARY}, as nnbench-example trains with it",  # a line for the list: say how
        create="nnbench_example.network:ExampleNetwork",
        requires=(LIBRARY,),
    )
    return [backend]
