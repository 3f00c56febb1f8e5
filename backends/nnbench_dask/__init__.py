"""The ``dask`` executor: blocks on the workers of a dask cluster, here, at an address, by SSH, or in jobs of SLURM."""

from __future__ import annotations

from nnbench import hookimpl
from nnbench.contract.backend import Option, OptionValue
from nnbench.contract.engine import Engine, Session


class Dask(Engine):
    """Reaches the workers of a scheduler that runs, or starts one with its workers."""

    name = "dask"
    summary = "workers of dask: here, at an address, by SSH, or in jobs of SLURM"
    requires = ("distributed",)
    options = {  # noqa: RUF012 - it is never changed
        "address": Option("", "of a scheduler that runs; its workers need --resources nnbench=1"),
        "workers": Option(2, "to start here, if nothing else is asked for"),
        "ssh": Option("", "machines to start a worker on, with blanks in between"),
        "slurm": Option(
            default=False, help="start workers in jobs, as dask-jobqueue is configured"
        ),
        "jobs": Option(1, "of SLURM, a worker in each"),
        "partition": Option("", "likewise"),
        "account": Option("", "likewise"),
        "walltime": Option("", "of a job: 02:00:00"),
        "cores": Option(0, "of a job"),
        "memory": Option("", "of a job: 8GB"),
        "python": Option("", "of workers by SSH or in jobs, if it is not where this one is"),
        "patience": Option(300, "seconds without a worker; by default longer, if jobs are queued"),
    }

    def open(self, **options: OptionValue) -> Session:
        """Start what was asked for, and connect to it."""
        from nnbench_dask.clusters import start
        from nnbench_dask.session import DaskSession

        asked = {key: option.default for key, option in self.options.items()} | options
        del asked["patience"]
        patience = options.get("patience")
        place = start(given=options.keys(), **asked)
        return DaskSession(place, None if patience is None else float(patience))


@hookimpl
def nnbench_executors() -> list[Engine]:
    """Register ``dask``."""
    return [Dask()]
