"""Mistakes in what is trained on, and in which losses are reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnbench import reference
from nnbench.contract.spec import Examples, minibatches
from nnbench.data.task import rows
from nnbench.testing.mistakes.training import Training, scaled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from nnbench.contract.spec import Layer, NetworkSpec
    from nnbench.reference import Array
    from nnbench.testing.mistakes.training import Backprop, Layers
    from nnbench.testing.problems import Problem

    Index = NDArray[np.int64]
    Batches = Callable[[Problem], Iterator[Examples]]


def reordered(change: Callable[[Index, Problem], Index]) -> Batches:
    """Change the order of each epoch."""

    def batches(problem: Problem) -> Iterator[Examples]:
        for order in problem.orders:
            for index in minibatches(change(order, problem), problem.batch_size):
                yield rows(problem.examples, index)

    return batches


def without_last(order: Index, problem: Problem) -> Index:
    """Cut an order down to whole batches."""
    return order[: len(order) // problem.batch_size * problem.batch_size]


def padded(order: Index, problem: Problem) -> Index:
    """Fill the last batch up with the first examples of the order."""
    return np.resize(order, -(-len(order) // problem.batch_size) * problem.batch_size)


def first_batch(order: Index, problem: Problem) -> Index:
    """Repeat the first batch."""
    return np.resize(order[: problem.batch_size], len(order))


def zero_padded(problem: Problem) -> Iterator[Examples]:
    """Fill the last batch up with zeros."""
    for inputs, labels, targets in problem.batches():
        missing = max(0, problem.batch_size - len(inputs))
        yield Examples(
            np.pad(inputs, ((0, missing), (0, 0))),
            None if labels is None else np.pad(labels, (0, missing)),
            None if targets is None else np.pad(targets, ((0, missing), (0, 0))),
        )


def divided_by_full(batch_size: int) -> Backprop:
    """Divide the loss and the gradient of every batch by the size of a full one."""

    def backprop(spec: NetworkSpec, layers: Layers, batch: Examples) -> tuple[float, list[Layer]]:
        loss, gradients = reference.backprop(spec, layers, batch)
        share = len(batch.inputs) / batch_size
        return loss * share, scaled(gradients, share)

    return backprop


def epoch_by_epoch(
    change: Callable[[Array], Array],
) -> Callable[[list[float], Problem], list[float]]:
    """Change the losses of each epoch."""

    def reported(losses: list[float], problem: Problem) -> list[float]:
        parts = np.split(np.array(losses), problem.epoch_starts()[1:])
        return [float(loss) for part in parts for loss in change(part)]

    return reported


def running_mean(losses: Array) -> Array:
    """Return the means of the losses so far."""
    means: Array = np.cumsum(losses) / np.arange(1, len(losses) + 1)
    return means


def last_for_all(losses: Array) -> Array:
    """Return the last loss in each place."""
    return np.full_like(losses, losses[-1])


def mistakes(batch_size: int) -> list[Training]:
    """Return the mistakes of a training with this batch size."""
    return [
        Training(hint="the last, smaller batch is dropped", batches=reordered(without_last)),
        Training(hint="the last, smaller batch is padded", batches=reordered(padded)),
        Training(hint="the last, smaller batch is padded", batches=zero_padded),
        Training(
            hint="the last, smaller batch is divided by the size of a full one",
            backprop=divided_by_full(batch_size),
        ),
        Training(
            hint="the order of the examples is ignored",
            batches=reordered(lambda order, _: np.arange(len(order))),
        ),
        Training(
            hint="the order of the examples is ignored: every epoch has that of the first",
            batches=reordered(lambda _, problem: problem.orders[0]),
        ),
        Training(hint="every step trains on the first batch", batches=reordered(first_batch)),
        Training(hint="the optimizer restarts in every epoch", restarts=True),
        Training(
            hint="the losses are means of the epoch so far", reported=epoch_by_epoch(running_mean)
        ),
        Training(
            hint="all losses are the epoch's last one: they share a buffer",
            reported=epoch_by_epoch(last_for_all),
        ),
    ]
