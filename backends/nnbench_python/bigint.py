"""A multilayer perceptron in pure Python, whose matrix products add up big integers.

A layer's weights are a list for each input. In every step they are packed, a list to an integer, and
a batch's products are sums of multiples of these; so zeros cost nothing here either. Everything
between the products is in floats: see ``fixed_point`` for what the integers round.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, assert_never

from nnbench_python.fixed_point import (
    MULTIPLIER_BITS,
    Multipliers,
    largest,
    matmul,
    outer,
    quantize,
    quantize_row,
    unit_for,
)
from nnbench_python.functions import sigmoid
from nnbench_python.network import Dense, PythonNetwork, wanted_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nnbench import Examples
    from nnbench_python.network import Vector, Wanted


class Data(NamedTuple):
    """A split, or a batch of it."""

    inputs: Multipliers
    wanted: list[Wanted]


class BigintNetwork(PythonNetwork[Data]):
    """Lists of floats, and big integers for their products."""

    by_unit = False

    def place(self, examples: Examples) -> Data:
        inputs = examples.inputs
        bounds = zip(inputs.max(axis=0).tolist(), inputs.min(axis=0).tolist(), strict=True)
        units = [unit_for(largest(pair), MULTIPLIER_BITS) for pair in bounds]
        rows = [quantize_row(row.tolist(), units).pack("i") for row in inputs]
        return Data(Multipliers(rows, units), wanted_of(examples))

    def batch(self, data: Data, index: NDArray[np.int64]) -> Data:
        rows = index.tolist()
        inputs, wanted = data
        unpacked = [inputs.rows[i].unpack() for i in rows]
        return Data(Multipliers(unpacked, inputs.units), [wanted[i] for i in rows])

    def feedforward(self, batch: Data) -> list[Vector]:
        self._inputs = [batch.inputs]  # of each layer
        self._outputs: list[list[Vector]] = []  # of each hidden layer
        for layer in self._layers[:-1]:
            rows = forward(layer, self._inputs[-1])
            self._outputs.append([self._activate(z) for z in rows])
            self._inputs.append(quantize(self._outputs[-1]))
        self._logits = forward(self._layers[-1], self._inputs[-1])
        return self._logits

    def _activate(self, z: Vector) -> Vector:
        match self.spec.activation:
            case "relu":
                return [0.0 if x < 0 else x for x in z]  # NaN stays
            case "sigmoid":
                return [sigmoid(x) for x in z]
            case _:
                assert_never(self.spec.activation)

    def backprop(self, batch: Data) -> float:
        share = 1 / len(batch.wanted)
        losses, slopes = zip(*map(self._loss, self._logits, batch.wanted), strict=True)
        deltas = [[share * slope for slope in row] for row in slopes]
        gradients = []
        for depth in reversed(range(len(self._layers))):
            weights = outer(self._inputs[depth], deltas)
            gradients.append(Dense(weights, [sum(column) for column in zip(*deltas, strict=True)]))
            if depth > 0:
                deltas = self._descend(self._layers[depth], self._outputs[depth - 1], deltas)
        self._gradients = gradients[::-1]
        loss: float = share * sum(losses)
        return loss + self._penalize() if self.spec.l2 else loss

    def _descend(self, layer: Dense, outputs: list[Vector], deltas: list[Vector]) -> list[Vector]:
        """Carry deltas down through a layer and the activation below it."""
        below = matmul(quantize(deltas), list(zip(*layer.weights, strict=True)))
        return list(map(self._slope, below, outputs))

    def _slope(self, deltas: Vector, outputs: Vector) -> Vector:
        """Multiply by the derivative of the activation, given its values."""
        match self.spec.activation:
            case "relu":
                return [d if a > 0 else 0.0 for d, a in zip(deltas, outputs, strict=True)]
            case "sigmoid":
                return [d * a * (1 - a) for d, a in zip(deltas, outputs, strict=True)]
            case _:
                assert_never(self.spec.activation)


def forward(layer: Dense, inputs: Multipliers) -> list[Vector]:
    """Return the input of each unit of a layer, for each example."""
    products = matmul(inputs, layer.weights)
    return [[z + b for z, b in zip(row, layer.biases, strict=True)] for row in products]
