"""A plugin with a misspelt hook."""

from nnbench import hookimpl


@hookimpl
def nnbench_backend():
    return []
