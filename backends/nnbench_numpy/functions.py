"""The losses, and the sigmoid: each value into a buffer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nnbench_numpy.buffers import Workspace

    Array = NDArray[np.float32]


def sigmoid(z: Array, out: Array) -> None:
    """Write 1 / (1 + e^-z) = (1 + tanh(z / 2)) / 2, which never overflows."""
    np.multiply(z, 0.5, out=out)
    np.tanh(out, out=out)
    np.multiply(out, 0.5, out=out)
    np.add(out, 0.5, out=out)


def sigmoid_slope(value: Array, out: Array) -> None:
    """Write the sigmoid's derivative a · (1 − a), given its value a."""
    np.subtract(1, value, out=out)
    np.multiply(value, out, out=out)


def cross_entropy(work: Workspace, targets: Array) -> float:
    """Return the mean cross-entropy of a softmax; its derivative goes to the last delta."""
    logits, delta, row = work.outputs[-1], work.deltas[-1], work.row
    np.maximum.reduce(logits, axis=0, out=row)
    np.subtract(logits, row, out=logits)
    loss = -float(np.vdot(logits, targets))
    np.exp(logits, out=delta)
    np.add.reduce(delta, axis=0, out=row)
    np.divide(delta, row, out=delta)
    np.subtract(delta, targets, out=delta)
    np.multiply(delta, 1 / len(row), out=delta)
    np.log(row, out=row)
    return (loss + float(np.add.reduce(row))) / len(row)


def squared_error(work: Workspace, targets: Array) -> float:
    """Return the mean squared error of a sigmoid; its derivative goes to the last delta."""
    logits, delta, slope = work.outputs[-1], work.deltas[-1], work.slopes[-1]
    sigmoid(logits, out=delta)
    sigmoid_slope(delta, out=slope)
    np.subtract(delta, targets, out=delta)
    loss = float(np.vdot(delta, delta)) / delta.size
    np.multiply(delta, slope, out=delta)
    np.multiply(delta, 2 / delta.size, out=delta)
    return loss
