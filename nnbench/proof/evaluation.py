"""Judge a network: its accuracy and loss on the test split, and how it follows the reference.

The backend only computes logits; the loss and the accuracy are computed here, in float64, by the
same code for every backend.
"""

from __future__ import annotations

import math
from itertools import islice
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnbench import reference
from nnbench.contract.spec import minibatches
from nnbench.data.task import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.contract.backend import Model
    from nnbench.data.task import Task

BATCH_SIZE = 1000  #: of evaluation; it has no effect on the result
STEPS = 20  #: how many losses are held against the reference
TOLERANCE = 1e-4  #: relative, for float32 backends
ROUNDING_FACTOR = 10  #: how much worse than the reference in float32 a backend may be


class Evaluation(NamedTuple):
    """How well a network does on the test split."""

    loss: float | None  #: None is not finite
    accuracy: float | None  #: None where the targets are no classes
    seconds: float


class Expected(NamedTuple):
    """The reference's first losses, and what they and their rounding say of a float32 backend."""

    losses: list[float]
    tolerance: float  #: how far it may stray
    moves: bool = True  #: whether its parameters change at all


def finite_or_none(value: float) -> float | None:
    """Return a Python float of seven digits, all that float32 has; None for NaN and infinity."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def evaluate(network: Model[Any, Any], data: Any, task: Task) -> Evaluation:
    """Evaluate a network on the whole test split, placed as ``data``."""
    start = perf_counter()
    order = np.arange(len(task.test.inputs))
    logits = np.concatenate(
        [network.predict(network.batch(data, i)) for i in minibatches(order, BATCH_SIZE)]
    )
    seconds = perf_counter() - start
    with np.errstate(all="ignore"):  # a diverged network is a result, not a warning
        loss, _ = reference.output_loss(task.network, logits.astype(np.float64), task.test)
    accuracy = None
    if task.labels is not None:
        accuracy = float((logits.argmax(axis=1) == task.labels).mean())
    return Evaluation(finite_or_none(loss), accuracy, seconds)


def expected_losses(task: Task, steps: int = STEPS) -> Expected:
    """Train the reference on a task's first batches.

    The tolerance is 1e-4, or ten times what rounding to float32 alone does to the reference
    where that is more, as it is with a learning rate so high that training is chaotic.
    """
    every = (index for order in task.orders() for index in minibatches(order, task.batch_size))
    batches = [rows(task.train, index) for index in islice(every, steps)]
    with np.errstate(all="ignore"):
        exact, _ = reference.train(task.network, task.layers, batches)
        rounded, layers = reference.train(task.network, task.layers, batches, np.float32)
    spread = deviation(rounded, exact)
    tolerance = TOLERANCE if spread is None else max(TOLERANCE, ROUNDING_FACTOR * spread)
    return Expected(exact, tolerance, moves=not reference.equal(layers, task.layers))


def deviation(losses: Sequence[float | None], expected: Sequence[float]) -> float | None:
    """Return the largest relative deviation; None if nothing finite can be compared."""
    pairs = [
        (loss, other)
        for loss, other in zip(losses, expected, strict=False)
        if loss is not None and math.isfinite(loss) and math.isfinite(other)
    ]
    return max((abs(a - b) / max(abs(b), 1e-12) for a, b in pairs), default=None)
