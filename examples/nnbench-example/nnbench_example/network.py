"""A multilayer perceptron, each method in its simplest form.

Replace the arithmetic by your library's, one method at a time, and run ``nnbench test example`` after
each. N is the batch size, D the inputs, K the outputs; rows are examples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import numpy as np
from nnbench import Examples, Layer, Network, OptimizerState, flatten

from nnbench_example.optimizers import Adam, make_optimizer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench import NetworkSpec
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


class ExampleNetwork(Network[Examples, Examples]):
    """Data and batches are nnbench's own Examples, as NumPy computes in host memory."""

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec

    def load(self, layers: Sequence[Layer]) -> None:
        self.layers = [layer.copy() for layer in layers]
        self.kept = [layer.copy() for layer in layers]  # the gradients, until backprop makes some
        self.optimizer = make_optimizer(self.spec.optimizer, flatten(self.layers))

    def dump(self) -> list[Layer]:
        return [layer.copy() for layer in self.layers]

    def gradients(self) -> list[Layer]:
        return [layer.copy() for layer in self.kept]

    def optimizer_state(self) -> OptimizerState | None:
        optimizer = self.optimizer
        if not (isinstance(optimizer, Adam) and optimizer.spec.keeps_moments):
            return None
        moments = (np.concatenate(m, axis=None) for m in (optimizer.first, optimizer.second))
        return OptimizerState(optimizer.steps, *map(self.spec.view, moments))

    def place(self, examples: Examples) -> Examples:
        return examples

    def batch(self, data: Examples, index: NDArray[np.int64]) -> Examples:
        return data.rows(index)

    def feedforward(self, batch: Examples) -> Array:
        self.values = [batch.inputs]  # the input of each layer
        for layer in self.layers[:-1]:
            self.values.append(self.activate(linear(self.values[-1], layer)))
        self.logits = linear(self.values[-1], self.layers[-1])
        return self.logits

    def activate(self, z: Array) -> Array:
        """Apply the activation of the hidden layers."""
        match self.spec.activation:
            case "relu":
                return np.maximum(z, 0)
            case "sigmoid":
                return sigmoid(z)
            case _:
                assert_never(self.spec.activation)

    def slope(self, a: Array) -> Array:
        """Return the derivative of the activation, given its value."""
        match self.spec.activation:
            case "relu":
                return np.sign(a)
            case "sigmoid":
                return a * (1 - a)
            case _:
                assert_never(self.spec.activation)

    def backprop(self, batch: Examples) -> float:
        match self.spec.loss:
            case "cross_entropy":
                loss, delta = cross_entropy(self.logits, batch)
            case "squared_error":
                loss, delta = squared_error(self.logits, batch)
            case _:
                assert_never(self.spec.loss)
        for depth in reversed(range(len(self.layers))):
            weight, bias = self.layers[depth]
            value, l2 = self.values[depth], np.float32(self.spec.l2)
            loss += self.spec.l2 / 2 * float(np.vdot(weight, weight))
            self.kept[depth] = Layer(
                value.T @ delta + l2 * weight, None if bias is None else delta.sum(axis=0)
            )
            delta = (delta @ weight.T) * self.slope(value)
        return loss

    def update(self) -> None:
        self.optimizer.step(flatten(self.kept))


def linear(value: Array, layer: Layer) -> Array:
    """Return one layer's output before its activation, shape (N, fan_out)."""
    z: Array = value @ layer.weight
    return z if layer.bias is None else z + layer.bias


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + e^-z), in a form that never overflows."""
    half = np.float32(0.5)
    value: Array = half + half * np.tanh(half * z)
    return value


def cross_entropy(logits: Array, batch: Examples) -> tuple[float, Array]:
    """Return the mean over the batch, and its derivative with respect to the logits."""
    rows = np.arange(len(logits)), batch.labels
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    delta = np.exp(log_softmax)
    delta[rows] -= 1
    return -float(log_softmax[rows].mean()), delta / np.float32(len(logits))


def squared_error(logits: Array, batch: Examples) -> tuple[float, Array]:
    """Return the mean over batch and outputs, and its derivative with respect to the logits."""
    y = sigmoid(logits)
    error = y - np.asarray(batch.targets)
    return float(np.square(error).mean()), 2 * error * y * (1 - y) / np.float32(error.size)
