"""A plugin whose observer fails."""

from nnbench import hookimpl


@hookimpl
def nnbench_cell_finished(result):
    raise ValueError(f"cannot observe {result.workload}")
