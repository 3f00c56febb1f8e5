"""A multilayer perceptron in NumPy, without allocating anything in a step.

A bias is the weight of an input that is always one: inputs and hidden values carry a last column
of ones where the network has biases, so each layer is one matrix product. All parameters lie in
one flat array, and so do the gradients; the layers are views of them, and the optimizer runs
over the flat arrays.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench import Layer, Network
from nnbench_numpy.optimizers import make_optimizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnbench import Examples, NetworkSpec

    Array = NDArray[np.float32]


class Data(NamedTuple):
    """A split, or a batch of it."""

    inputs: Array  #: shape (N, D), or (N, D + 1) with the ones
    targets: Array  #: shape (N, K); classes are one-hot


@dataclass(frozen=True)
class Workspace:
    """The buffers of one batch size N."""

    batch: Data
    values: list[Array]  #: the input of each layer, with the ones
    outputs: list[Array]  #: of each layer, without the ones: views of the next layer's input
    deltas: list[Array]  #: the loss's derivative by each layer's output; the last holds softmax
    slopes: list[Array]  #: scratch for the derivative of each hidden activation
    column: Array  #: scratch, shape (N, 1)


class NumpyNetwork(Network[Data, Data]):
    """One flat array of parameters, and a workspace for each batch size."""

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self._ones = int(spec.bias)
        self._parameters = np.zeros(spec.parameter_count, np.float32)
        self._gradients = np.zeros_like(self._parameters)
        self._weights = self._views(self._parameters)
        self._weight_gradients = self._views(self._gradients)
        self._workspaces: dict[int, Workspace] = {}

    def _views(self, flat: Array) -> list[Array]:
        """Cut a flat array into matrices of shape (fan_in, or fan_in + 1 with biases, fan_out)."""
        shapes = [(fan_in + self._ones, fan_out) for fan_in, fan_out in self.spec.shapes]
        ends = np.cumsum([rows * columns for rows, columns in shapes])
        parts = np.split(flat, ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]

    def load(self, layers: Sequence[Layer]) -> None:
        for matrix, (weight, bias) in zip(self._weights, layers, strict=True):
            matrix[: len(weight)] = weight
            if bias is not None:
                matrix[-1] = bias
        self._optimizer = make_optimizer(self.spec.optimizer, self._parameters, self._gradients)

    def dump(self) -> list[Layer]:
        return self._export(self._weights)

    def gradients(self) -> list[Layer]:
        return self._export(self._weight_gradients)

    def _export(self, matrices: list[Array]) -> list[Layer]:
        if not self.spec.bias:
            return [Layer(matrix.copy(), None) for matrix in matrices]
        return [Layer(matrix[:-1].copy(), matrix[-1].copy()) for matrix in matrices]

    def place(self, examples: Examples) -> Data:
        inputs, labels, targets = examples
        if self.spec.bias:
            inputs = np.concatenate([inputs, np.ones((len(inputs), 1), np.float32)], axis=1)
        if targets is None:
            targets = np.eye(self.spec.sizes[-1], dtype=np.float32)[labels]
        return Data(inputs, targets)

    def batch(self, data: Data, index: NDArray[np.int64]) -> Data:
        batch = self._workspace(len(index)).batch
        # mode="clip" lets take write into out directly; the default goes through a copy
        np.take(data.inputs, index, axis=0, out=batch.inputs, mode="clip")
        np.take(data.targets, index, axis=0, out=batch.targets, mode="clip")
        return batch

    def _workspace(self, n: int) -> Workspace:
        if n not in self._workspaces:
            self._workspaces[n] = make_workspace(self.spec, n)
        return self._workspaces[n]

    def feedforward(self, batch: Data) -> Array:
        work = self._workspace(len(batch.inputs))
        for weight, value, output in zip(self._weights, work.values, work.outputs, strict=True):
            np.matmul(value, weight, out=output)
            if output is not work.outputs[-1]:
                self._activate(output)
        return work.outputs[-1]

    def _activate(self, z: Array) -> None:
        if self.spec.activation == "relu":
            np.maximum(z, 0, out=z)
        else:
            sigmoid(z, out=z)

    def backprop(self, batch: Data) -> float:
        work = self._workspace(len(batch.inputs))
        if self.spec.loss == "cross_entropy":
            loss = cross_entropy(work, batch.targets)
        else:
            loss = squared_error(work, batch.targets)
        for depth in reversed(range(len(self._weights))):
            delta, gradient = work.deltas[depth], self._weight_gradients[depth]
            np.matmul(work.values[depth].T, delta, out=gradient)
            if depth > 0:
                self._descend(work, depth)
        return loss + self._penalize() if self.spec.l2 else loss

    def _descend(self, work: Workspace, depth: int) -> None:
        """Carry delta down through a layer and the activation below it."""
        weight = self._weights[depth][: self.spec.sizes[depth]]
        below, value, slope = (
            work.deltas[depth - 1],
            work.outputs[depth - 1],
            work.slopes[depth - 1],
        )
        np.matmul(work.deltas[depth], weight.T, out=below)
        if self.spec.activation == "relu":
            np.sign(value, out=slope)
        else:
            sigmoid_slope(value, out=slope)
        np.multiply(below, slope, out=below)

    def _penalize(self) -> float:
        """Add the L2 term to the gradients, and return its part of the loss."""
        squares = 0.0
        for size, weight, gradient in zip(
            self.spec.sizes, self._weights, self._weight_gradients, strict=False
        ):
            gradient[:size] += self.spec.l2 * weight[:size]
            squares += float(np.square(weight[:size]).sum())
        return self.spec.l2 / 2 * squares

    def update(self) -> None:
        self._optimizer()


def make_workspace(spec: NetworkSpec, n: int) -> Workspace:
    """Allocate the buffers of one batch size."""
    ones = int(spec.bias)
    values = [np.ones((n, size + ones), np.float32) for size in spec.sizes[:-1]]
    logits = np.empty((n, spec.sizes[-1]), np.float32)
    hidden = [value[:, :size] for value, size in zip(values[1:], spec.sizes[1:-1], strict=True)]
    outputs = [*hidden, logits]
    return Workspace(
        batch=Data(values[0], np.empty_like(logits)),
        values=values,
        outputs=outputs,
        deltas=[np.empty(output.shape, np.float32) for output in outputs],
        slopes=[np.empty(output.shape, np.float32) for output in outputs],
        column=np.empty((n, 1), np.float32),
    )


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
    logits, delta, column = work.outputs[-1], work.deltas[-1], work.column
    np.max(logits, axis=1, keepdims=True, out=column)
    np.subtract(logits, column, out=logits)
    loss = -float(np.vdot(logits, targets))
    np.exp(logits, out=delta)
    np.sum(delta, axis=1, keepdims=True, out=column)
    np.divide(delta, column, out=delta)
    np.subtract(delta, targets, out=delta)
    np.multiply(delta, 1 / len(delta), out=delta)
    np.log(column, out=column)
    return (loss + float(np.sum(column))) / len(delta)


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
