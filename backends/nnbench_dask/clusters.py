"""What ``dask[…]`` asks for: workers at an address, or of a scheduler that is started for the run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from nnbench.contract.errors import NnbenchError
from nnbench_dask import slurm, ssh
from nnbench_dask.places import PRELOAD, RESOURCE, Place

if TYPE_CHECKING:
    from collections.abc import Collection

#: The options that go with each kind of place, beside its own, and beside ``patience``.
OWN = {
    "address": (),
    "ssh": ("python",),
    "slurm": ("jobs", "partition", "account", "walltime", "cores", "memory", "python"),
    "": ("workers",),
}


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
        If the options do not go together, or what they need is not installed, configured or reached.
    """
    kind = next((kind for kind in OWN if kind and asked[kind]), "")
    if others := sorted(set(given) - {kind, *OWN[kind], "patience"}):
        text = f"with {kind}" if kind else "without address, ssh or slurm"
        raise NnbenchError(f"dask[{others[0]}] means nothing {text}")
    for key in ("workers", "jobs", "cores"):
        if key in given and asked[key] < 1:
            raise NnbenchError(f"dask[{key}={asked[key]}]: it must be 1 or more")
    match kind:
        case "address":
            return Place(asked["address"])
        case "ssh":
            return ssh.start(asked["ssh"].split(), asked["python"])
        case "slurm":
            return slurm.start(**{key: asked[key] for key in OWN[kind]})
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
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            preload=[PRELOAD],
            silence_logs=logging.CRITICAL,
        )
    return Place(cluster.scheduler_address, cluster)
