"""A plugin whose listing hooks fail: one raises, one lists something else."""

from nnbench import hookimpl


@hookimpl
def nnbench_backends():
    raise KeyError("no backends")


@hookimpl
def nnbench_workloads():
    return {"mine": "no workload"}
