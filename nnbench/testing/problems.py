"""The training problems that checks share: small ones of their own, and the workloads cut short.

The small ones are few, and of one shape: a backend may compile for each network and batch size.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, assert_never

import numpy as np
import pytest

from nnbench import catalog
from nnbench.contract.errors import NnbenchError
from nnbench.contract.spec import Examples, flatten, minibatches
from nnbench.data import seeding
from nnbench.data.task import Task, make_task
from nnbench.proof import mistakes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnbench.contract.spec import Layer, NetworkSpec
    from nnbench.data.datasets import Splits

BATCH_SIZE = mistakes.BATCH_SIZE
Problem = mistakes.Problem
BATCHES = 2.5  #: of an epoch, so the last one is smaller
SMALLEST_NORM = 1e-3  #: below it, a deviation counts as absolute

STEPS = 10  #: of a workload that is cut short
#: floating-point operations that a step of it may cost, as far as the batch decides
OPERATIONS = 1e7
SMALLEST_BATCH = 4  #: that a costly workload is cut down to


def make_problem(
    spec: NetworkSpec,
    *,
    epochs: int = 1,
    batch_size: int = BATCH_SIZE,
    batches: float = BATCHES,
    seed: int = 0,
) -> Problem:
    """Draw parameters, examples, and an order for each epoch."""
    rng = np.random.default_rng([seed, epochs])
    count = math.ceil(batches * batch_size)
    orders = [rng.permutation(count) for _ in range(epochs)]
    layers, examples = make_layers(spec, seed), make_examples(spec, count, seed)
    return Problem(spec, layers, examples, orders, batch_size)


def make_layers(spec: NetworkSpec, seed: int = 0) -> list[Layer]:
    """Draw parameters."""
    return seeding.initial_layers(spec, "uniform", seed)


def make_examples(spec: NetworkSpec, count: int, seed: int = 0) -> Examples:
    """Draw examples; about half of the inputs are zero, as pixels are."""
    rng = np.random.default_rng([seed, count])
    inputs = np.maximum(rng.standard_normal((count, spec.sizes[0])), 0).astype(np.float32)
    match spec.loss:
        case "cross_entropy":
            return Examples(inputs, rng.integers(0, spec.sizes[-1], count), None)
        case "squared_error":
            targets = rng.uniform(0, 1, (count, spec.sizes[-1])).astype(np.float32)
            return Examples(inputs, None, targets)
        case _:
            assert_never(spec.loss)


def same_bits(actual: Sequence[Layer], expected: Sequence[Layer]) -> bool:
    """Tell whether two networks are equal to the last bit."""
    pairs = zip(flatten(actual), flatten(expected), strict=True)
    return all(a.tobytes() == b.tobytes() for a, b in pairs)


def distance(actual: Sequence[Layer], expected: Sequence[Layer]) -> float:
    """Return the largest difference between two networks, relative to each array's norm."""
    return max(map(deviation, flatten(actual), flatten(expected)))


def deviation(actual: NDArray[np.floating], expected: NDArray[np.floating]) -> float:
    """Return how far an array is off, relative to its norm."""
    if not np.isfinite(actual).all():
        return np.inf
    scale = max(float(np.linalg.norm(expected)), SMALLEST_NORM)
    return float(np.linalg.norm(actual - expected)) / scale


def make_short_task(name: str) -> Task:
    """Return a workload cut down to ten steps, or skip the running check.

    The last examples are kept, which the steps and the validation need; the batches of a large
    network are cut.
    """
    workload = catalog.workloads()[name]
    try:
        splits = _load(workload.dataset)
    except NnbenchError as error:
        pytest.skip(str(error))
    if workload.batch_size is not None:
        wanted = workload.validation + STEPS * workload.batch_size
        splits = splits._replace(train=splits.train.rows(slice(-wanted, None)))
        network = workload.network(splits.train.inputs.shape[1], splits.outputs)
        most = max(SMALLEST_BATCH, int(OPERATIONS / network.operations))
        workload = replace(workload, batch_size=min(workload.batch_size, most))
    return make_task(workload, splits, seed=0)


@cache
def _load(dataset: str) -> Splits:
    return catalog.find("dataset", dataset, catalog.datasets()).load()


def make_task_problem(task: Task) -> Problem:
    """Return the first ten steps of a task, or as many as it has."""
    left, orders = STEPS, []
    for order in task.orders():
        orders.append(order[: left * task.batch_size])
        left -= len(list(minibatches(orders[-1], task.batch_size)))
        if not left:
            break
    return Problem(task.network, task.layers, task.train, orders, task.batch_size)
