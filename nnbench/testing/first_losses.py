"""The first losses of a workload, as the float64 reference has them, and how far a backend may stray."""

from __future__ import annotations

import math
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench import reference
from nnbench.contract.spec import minibatches

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.data.task import Task

STEPS = 20  #: of a workload's first losses
TOLERANCE = 1e-4  #: relative, for float32 backends
ROUNDING_FACTOR = 10  #: how much worse than the reference in float32 a backend may be


class Expected(NamedTuple):
    """The reference's first losses, and what they and their rounding say of a float32 backend."""

    losses: list[float]
    tolerance: float  #: how far it may stray
    moves: bool = True  #: whether its parameters change at all


def expected_losses(task: Task, steps: int = STEPS) -> Expected:
    """Train the reference on a task's first batches.

    The tolerance is 1e-4, or ten times what rounding to float32 alone does to the reference
    where that is more, as it is with a learning rate so high that training is chaotic.
    """
    every = (index for order in task.orders() for index in minibatches(order, task.batch_size))
    batches = [task.train.rows(index) for index in islice(every, steps)]
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
