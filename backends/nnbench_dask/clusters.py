"""Clusters: one that runs already, or one that is started for a run and ends with it."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nnbench.contract.errors import ExecutorError, NnbenchError

if TYPE_CHECKING:
    from collections.abc import Collection

RESOURCE = "nnbench"  #: a worker has one, and a block takes it: so no worker has two blocks
PRELOAD = "nnbench_dask.worker"
JOB = {"partition": "queue", "account": "account", "walltime": "walltime", "memory": "memory"}


class Place:
    """Where workers are.

    Parameters
    ----------
    address
        Of the scheduler.
    cluster
        What was started for the run, if something was.
    jobs
        Of SLURM, that are to be there.
    """

    def __init__(self, address: str, cluster: Any = None, jobs: int = 0) -> None:
        self.address, self.cluster, self.jobs = address, cluster, jobs

    def mend(self) -> None:
        """Have jobs started anew in the place of those that have ended."""
        if self.jobs:
            self.cluster.scale(jobs=self.jobs)

    def close(self) -> None:
        """End what was started."""
        if self.cluster is not None:
            with suppress(TimeoutError, OSError):  # a job system may be slow, or gone
                self.cluster.close()


def start(given: Collection[str], **asked: Any) -> Place:
    """Return the place that options ask for.

    Parameters
    ----------
    given
        The options that the user has given.
    asked
        All options, by their names.

    Raises
    ------
    NnbenchError
        If the options do not go together, or what they need is not installed or configured.
    """
    kinds = [kind for kind in ("address", "ssh", "slurm") if asked[kind]]
    own = {"slurm": {"jobs", "cores", *JOB}, "": {"workers"}}
    kind = kinds[0] if kinds else ""
    others = sorted(set(given) - {*kinds[:1], *own.get(kind, ()), "patience"})
    if others:
        text = f"with {kind}" if kind else "without address, ssh or slurm"
        raise NnbenchError(f"dask[{others[0]}] means nothing {text}")
    match kind:
        case "address":
            return Place(asked["address"])
        case "ssh":
            return _by_ssh(asked["ssh"].split())
        case "slurm":
            return _on_slurm(asked)
        case _:
            return _here(asked["workers"])


def _here(workers: int) -> Place:
    import dask
    from distributed import LocalCluster

    # By itself dask would set variables in its workers' environment that tune memory and threads.
    with dask.config.set({"distributed.nanny.pre-spawn-environ": {}}):
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            resources={RESOURCE: 1},
            memory_limit=0,  # of the worker itself, which only waits for its block
            dashboard_address=None,
            preload=[PRELOAD],
            silence_logs=logging.CRITICAL,
        )
    return Place(cluster.scheduler_address, cluster)


def _by_ssh(machines: list[str]) -> Place:
    try:
        import asyncssh  # noqa: F401 - dask's cluster imports it when it is made
    except ImportError:
        raise NnbenchError("dask[ssh] needs asyncssh: pip install asyncssh") from None
    from distributed import SSHCluster

    cluster = SSHCluster(
        [machines[0], *machines],  # the scheduler, then workers
        worker_options={"nthreads": 1, "resources": {RESOURCE: 1}},
    )
    return Place(cluster.scheduler_address, cluster)


def _on_slurm(asked: dict[str, Any]) -> Place:
    try:
        from dask_jobqueue.slurm import SLURMCluster
    except ImportError:
        raise NnbenchError("dask[slurm] needs dask-jobqueue: pip install dask-jobqueue") from None
    given = {its: asked[ours] for ours, its in JOB.items() if asked[ours]}
    cores = {"cores": asked["cores"], "job_cpu": asked["cores"]} if asked["cores"] else {}
    try:
        cluster: Any = SLURMCluster(
            **given,
            **cores,
            processes=1,
            worker_extra_args=["--resources", f"{RESOURCE}=1"],
        )
    except ValueError as error:  # such as no memory, neither here nor in the configuration
        raise ExecutorError(f"dask-jobqueue: {' '.join(str(error).split())}") from error
    cluster.scale(jobs=asked["jobs"])
    return Place(cluster.scheduler_address, cluster, asked["jobs"])
