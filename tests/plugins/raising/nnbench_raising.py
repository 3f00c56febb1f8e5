"""A plugin whose observers fail, each in its own way."""

import sys

from nnbench import hookimpl


@hookimpl
def nnbench_run_started(run):
    raise OSError(f"no connection for {run.workload.name}")


@hookimpl
def nnbench_cell_finished(result):
    raise ValueError(f"cannot observe {result.workload}")


@hookimpl
def nnbench_run_finished():
    sys.exit("nothing works")
