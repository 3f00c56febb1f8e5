"""A plugin with a backend and a workload whose names are taken, and a backend that is alone."""

from dataclasses import replace

from nnbench import Backend, hookimpl
from nnbench.data import workloads

CREATE = "nnbench_numpy.network:NumpyNetwork"


@hookimpl
def nnbench_backends():
    return [
        Backend(name="numpy", summary="another one", create=CREATE),
        Backend(name="single", summary="the only one", create=CREATE),
        Backend(name="single", summary="not quite", create=CREATE),
    ]


@hookimpl
def nnbench_workloads():
    return [
        replace(each, epochs=1) for each in workloads.nnbench_workloads() if each.name == "mnist"
    ]
