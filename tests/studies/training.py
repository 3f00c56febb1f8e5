"""The training that each tool of :mod:`tests.studies.peers` times.

What nnbench's worker does on its clock: load the parameters, and train epoch after epoch with ``numpy``.
"""

from __future__ import annotations

import os
from time import process_time

from nnbench import catalog
from nnbench.data.task import load_task
from nnbench.data.workloads import derive
from nnbench.records.cells import Handicap
from nnbench.worker.training import slow_down
from nnbench_numpy.network import NumpyNetwork

DATASET = "STUDY_DATASET"  #: environment variable: a folder of IDX files
EPOCHS = 5
SEED = 0


class Training:
    """A network with its data in place; each call trains it from its first parameters, all alike.

    Parameters
    ----------
    share
        Of the time of each epoch, by which it takes longer.
    """

    def __init__(self, share: float) -> None:
        asked = {"dataset": os.environ[DATASET], "epochs": EPOCHS}
        self._task = load_task(derive(catalog.workloads()["mnist"], asked), SEED)
        self._orders = [*self._task.orders()]
        self._network = NumpyNetwork(self._task.network)
        self._data = self._network.place(self._task.train)
        if share:
            slow_down(self._network, Handicap("work", share))

    def __call__(self) -> None:
        """Train."""
        self._network.load(self._task.layers)
        for order in self._orders:
            self._network.train_epoch(self._data, order, self._task.batch_size)


def slow_process(share: float) -> None:
    """Work for a share of what this process has worked since its start."""
    end = (1 + share) * process_time()
    while process_time() < end:
        pass
