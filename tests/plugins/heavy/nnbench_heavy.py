"""A plugin whose backend needs a heavy library."""

from importlib import import_module

from nnbench import Backend, hookimpl


def create(spec):
    import_module("heavy_library")
    return import_module("nnbench_faulty").Steady(spec)


@hookimpl
def nnbench_backends():
    return [Backend(name="heavy", summary="needs a heavy library", create=create)]
