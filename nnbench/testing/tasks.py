"""Workloads cut down to a few steps on their own data."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest

from nnbench import catalog
from nnbench.contract.errors import NnbenchError
from nnbench.contract.spec import minibatches
from nnbench.data.preparation import Task, make_task, rows
from nnbench.testing.problems import Problem

if TYPE_CHECKING:
    from nnbench.data.datasets import Splits
    from nnbench.data.workloads import Workload

STEPS = 10
OPERATIONS = 1e7  #: floating-point operations that a step may cost, as far as the batch decides
SMALLEST_BATCH = 4  #: that a costly workload is cut down to


def make_short_task(name: str, seed: int = 0) -> Task:
    """Return a workload with no more examples than ten steps need, or skip the running check."""
    workload = catalog.workloads()[name]
    try:
        splits = cut(_load(workload.dataset), workload)
    except NnbenchError as error:
        pytest.skip(str(error))
    return make_task(affordable(workload, splits), splits, seed)


@cache
def _load(dataset: str) -> Splits:
    return catalog.find("dataset", dataset, catalog.datasets()).load()


def cut(splits: Splits, workload: Workload) -> Splits:
    """Keep the last examples, which ten steps and the validation need."""
    if workload.batch_size is None:
        return splits
    wanted = workload.validation + STEPS * workload.batch_size
    return splits._replace(train=rows(splits.train, slice(-wanted, None)))


def affordable(workload: Workload, splits: Splits) -> Workload:
    """Cut the batches of a large network."""
    if workload.batch_size is None:
        return workload
    network = workload.network(splits.train.inputs.shape[1], splits.outputs)
    most = max(SMALLEST_BATCH, int(OPERATIONS / network.operations))
    return replace(workload, batch_size=min(workload.batch_size, most))


def make_task_problem(task: Task) -> Problem:
    """Return the first ten steps of a task, or as many as it has."""
    left, orders = STEPS, []
    for order in task.orders():
        orders.append(order[: left * task.batch_size])
        left -= len(list(minibatches(orders[-1], task.batch_size)))
        if not left:
            break
    return Problem(task.network, task.layers, task.train, orders, task.batch_size)
