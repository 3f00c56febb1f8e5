"""A plugin with the name of one that ships, and the same under another name."""

from nnbench import Backend, hookimpl


@hookimpl
def nnbench_backends():
    return [Backend(name="twin", summary="the other", create="nnbench_numpy.network:NumpyNetwork")]
