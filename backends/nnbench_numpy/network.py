"""A multilayer perceptron in NumPy, without allocating anything in a step.

A bias is the weight of an input that is always one: inputs and hidden values carry a one for it
where the network has biases, so each layer is one matrix product. All parameters lie in one flat
array, and so do the gradients; the layers are views of them, and the optimizer runs over the flat
arrays. Examples are rows as they come in, and columns from the first hidden layer on: there a row
of ones leaves the rest contiguous, and softmax reduces whole rows. The first layer's product still
has examples as rows, the layout in which BLAS is fastest; the activation turns them.

The weights of inputs that are zero in every example never move (but for L2), and add nothing: they
lie at the end, where neither the products nor the optimizer reach. One in twelve of MNIST's pixels
is never set.
"""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING

import numpy as np

from nnbench import Layer, Network, OptimizerState
from nnbench_numpy.buffers import SHADE, Batch, Data, keep, make_workspace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nnbench import Examples, NetworkSpec, Optimizer
    from nnbench_numpy.buffers import Workspace

    Array = NDArray[np.float32]


class NumpyNetwork(Network[Data, Batch]):
    """One flat array of parameters, and a workspace for each shape of a batch."""

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self._activate, self._slope = spec.choose_activation(
            relu=(relu, relu_slope), sigmoid=(sigmoid, sigmoid_slope)
        )
        self._loss = spec.choose_loss(cross_entropy=cross_entropy, squared_error=squared_error)
        self._ones = int(spec.bias)
        self._parameters = np.zeros(spec.parameter_count, np.float32)
        self._gradients = np.zeros_like(self._parameters)
        self._weights = self._views(self._parameters)
        self._weight_gradients = self._views(self._gradients)
        #: the buffers for N examples and so many inputs, the ones included
        self._workspace = cache(partial(make_workspace, spec))
        self._order: NDArray[np.int64] | None = None  # of the inputs, by the first split placed
        self._moving = 0  # how many parameters may move

    def _views(self, flat: Array) -> list[Array]:
        """Cut a flat array into matrices of shape ([1 +] fan_in, fan_out), the first layer last."""
        shapes = [(self._ones + fan_in, fan_out) for fan_in, fan_out in reversed(self.spec.shapes)]
        ends = np.cumsum([rows * columns for rows, columns in shapes])
        parts = np.split(flat, ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)][::-1]

    def load(self, layers: Sequence[Layer]) -> None:
        for matrix, (weight, bias) in zip(self._weights, layers, strict=True):
            matrix[self._ones :] = weight
            if bias is not None:
                matrix[0] = bias
        self._arrange()
        rule = self.spec.optimizer
        kind = rule.choose(sgd=GradientDescent, adam=Adam, adam_fresh=FreshAdam)
        self._optimizer = kind(rule, self._parameters, self._gradients)

    def _arrange(self) -> None:
        """Bring the first layer's weights into the order of the inputs."""
        if self._order is not None:
            weights = self._weights[0][self._ones :]
            weights[:] = weights[self._order]

    def dump(self) -> list[Layer]:
        return self._export(self._weights)

    def gradients(self) -> list[Layer]:
        return self._export(self._weight_gradients)

    def optimizer_state(self) -> OptimizerState | None:
        if not isinstance(self._optimizer, Adam):
            return None
        moments = (self._export(self._views(flat)) for flat in self._optimizer.moments)
        return OptimizerState(self._optimizer.step, *moments).unscaled(self.spec.optimizer)

    def _export(self, matrices: list[Array]) -> list[Layer]:
        weights = [matrix[self._ones :].copy() for matrix in matrices]
        if self._order is not None:
            weights[0][self._order] = matrices[0][self._ones :]
        biases = [matrix[0].copy() if self.spec.bias else None for matrix in matrices]
        return [Layer(*pair) for pair in zip(weights, biases, strict=True)]

    def place(self, examples: Examples) -> Data:
        used: NDArray[np.bool_] = np.any(examples.inputs, axis=0) | (self.spec.l2 > 0)
        if self._order is None:
            self._order = np.argsort(~used, kind="stable")
            self._arrange()  # what was loaded before; it has not moved yet
        width = 1 + int(used[self._order].nonzero()[0].max(initial=-1))
        unmoved = (len(used) - width) * self.spec.sizes[1]
        self._moving = max(self._moving, self._parameters.size - unmoved)
        inputs = keep(examples.inputs, self._order[:width], self._ones)
        return Data(inputs, examples.one_hot(self.spec.sizes[-1]))

    def batch(self, data: Data, index: NDArray[np.int64]) -> Batch:
        work = self._workspace(len(index), data.inputs.shape[1])
        # mode="clip" lets take write into out directly; the default goes through a copy
        if data.inputs.dtype == np.uint8:
            np.take(data.inputs, index, axis=0, out=work.codes, mode="clip")
            np.multiply(work.codes, SHADE, out=work.rows.inputs)
        else:
            np.take(data.inputs, index, axis=0, out=work.rows.inputs, mode="clip")
        np.take(data.targets, index, axis=0, out=work.rows.targets, mode="clip")
        return work.batch

    def feedforward(self, batch: Batch) -> Array:
        work = self._workspace(*batch.inputs.shape[::-1])
        layers = zip(self._weights, work.values, work.products, work.outputs, strict=True)
        for weight, value, product, output in layers:
            np.matmul(weight[: len(value)].T, value, out=product)
            if output is not work.outputs[-1]:
                self._activate(product, out=output)
        return work.outputs[-1].T

    def backprop(self, batch: Batch) -> float:
        work = self._workspace(*batch.inputs.shape[::-1])
        loss = self._loss(work, batch.targets)
        for depth in reversed(range(len(self._weights))):
            value, gradient = work.values[depth], self._weight_gradients[depth]
            np.matmul(value, work.deltas[depth].T, out=gradient[: len(value)])
            gradient[len(value) :] = 0  # of the inputs that this split never sets
            if depth > 0:
                self._descend(work, depth)
        return loss + self._penalize() if self.spec.l2 else loss

    def _descend(self, work: Workspace, depth: int) -> None:
        """Carry delta down through a layer and the activation below it."""
        weight = self._weights[depth][self._ones :]
        below, slope = work.deltas[depth - 1], work.slopes[depth - 1]
        np.matmul(weight, work.deltas[depth], out=below)
        self._slope(work.outputs[depth - 1], out=slope)
        np.multiply(below, slope, out=below)

    def _penalize(self) -> float:
        """Add the L2 term to the gradients, and return its part of the loss."""
        squares = 0.0
        for matrix, gradient in zip(self._weights, self._weight_gradients, strict=True):
            weight = matrix[self._ones :]
            gradient[self._ones :] += self.spec.l2 * weight
            squares += float(np.square(weight).sum())
        return self.spec.l2 / 2 * squares

    def update(self) -> None:
        self._optimizer(self._moving)


def sigmoid(z: Array, out: Array) -> None:
    """Write 1 / (1 + e^-z) = (1 + tanh(z / 2)) / 2, which never overflows."""
    np.multiply(z, 0.5, out=out)
    np.tanh(out, out=out)
    np.multiply(out, 0.5, out=out)
    np.add(out, 0.5, out=out)


def relu(z: Array, out: Array) -> None:
    """Write the larger of z and zero."""
    np.maximum(z, 0, out=out)


def relu_slope(value: Array, out: Array) -> None:
    """Write the derivative of ReLU, given its value."""
    np.sign(value, out=out)


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


class GradientDescent:
    """θ ← θ − η·g."""

    def __init__(self, spec: Optimizer, parameters: Array, gradients: Array) -> None:
        self.spec = spec
        self.arrays = [parameters, gradients, np.empty_like(parameters)]

    def __call__(self, count: int) -> None:
        """Make one step."""
        parameters, gradients, scratch = (array[:count] for array in self.arrays)
        np.multiply(gradients, self.spec.learning_rate, out=scratch)
        np.subtract(parameters, scratch, out=parameters)


class FreshAdam(GradientDescent):
    """Adam's first step, again and again: θ ← θ − η·g / (|g| + ε)."""

    def __call__(self, count: int) -> None:
        """Make one step."""
        parameters, gradients, scratch = (array[:count] for array in self.arrays)
        np.abs(gradients, out=scratch)
        np.add(scratch, self.spec.epsilon, out=scratch)
        np.divide(gradients, scratch, out=scratch)
        np.multiply(scratch, self.spec.learning_rate, out=scratch)
        np.subtract(parameters, scratch, out=parameters)


class Adam(GradientDescent):
    """Kingma and Ba (2015), with scaled moments: see ``Optimizer.scaled``."""

    def __init__(self, spec: Optimizer, parameters: Array, gradients: Array) -> None:
        super().__init__(spec, parameters, gradients)
        self.moments = [np.zeros_like(parameters), np.zeros_like(parameters)]
        self.arrays += self.moments
        self.step = 0

    def __call__(self, count: int) -> None:
        """Make one step."""
        spec = self.spec
        parameters, gradients, scratch, first, second = (array[:count] for array in self.arrays)
        self.step += 1
        np.multiply(first, spec.beta1, out=first)
        np.add(first, gradients, out=first)
        np.multiply(gradients, gradients, out=scratch)
        np.multiply(second, spec.beta2, out=second)
        np.add(second, scratch, out=second)
        rate, epsilon = spec.scaled(self.step)
        np.sqrt(second, out=scratch)
        np.add(scratch, epsilon, out=scratch)
        np.divide(first, scratch, out=scratch)
        np.multiply(scratch, rate, out=scratch)
        np.subtract(parameters, scratch, out=parameters)
