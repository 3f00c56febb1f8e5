"""A multilayer perceptron in pure Python, one example after the other.

A layer's weights are a list for each unit, so that a unit's input is a dot product of its list
with the values of the layer below. Zeros are skipped throughout: four of five pixels are zero,
and so is half of what ReLU lets through. Arithmetic is in Python's floats, which are float64.
"""

from __future__ import annotations

from operator import mul
from typing import TYPE_CHECKING, NamedTuple, assert_never

from nnbench_python.functions import SparseRow, compact, picker, sigmoid
from nnbench_python.network import Dense, PythonNetwork, wanted_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nnbench import Examples
    from nnbench_python.network import Vector, Wanted

    Delta = list[tuple[int, float]]  # units, and the loss's derivative by their input, no zeros


class Data(NamedTuple):
    """A split, or a batch of it."""

    inputs: list[SparseRow[float]]
    wanted: list[Wanted]


class Kept(NamedTuple):
    """What backprop needs of one example's feedforward."""

    rows: list[SparseRow[float]]  #: the input of each layer
    logits: Vector


def zeros(shape: tuple[int, int]) -> Dense:
    """Return a layer of zeros for (fan_in, fan_out)."""
    fan_in, fan_out = shape
    return Dense([[0.0] * fan_in for _ in range(fan_out)], [0.0] * fan_out)


def accumulate(gradient: Dense, row: SparseRow[float], delta: Delta) -> None:
    """Add the outer product of a layer's input and its delta to the layer's gradient."""
    positions, values = row
    for unit, d in delta:
        weights = gradient.weights[unit]
        for i, v in zip(positions, values, strict=True):
            weights[i] += d * v
        gradient.biases[unit] += d


def forward(layer: Dense, row: SparseRow[float]) -> Vector:
    """Return the input of each unit of a layer."""
    pick, values = picker(row.positions), row.values
    return [sum(map(mul, pick(w), values)) + b for w, b in zip(*layer, strict=True)]


class LoopsNetwork(PythonNetwork[Data]):
    """Lists of floats and loops over them."""

    by_unit = True

    def place(self, examples: Examples) -> Data:
        rows = [compact(row.tolist()).pack("f") for row in examples.inputs]
        return Data(rows, wanted_of(examples))

    def batch(self, data: Data, index: NDArray[np.int64]) -> Data:
        rows = index.tolist()
        inputs, wanted = data
        return Data([inputs[i].unpack() for i in rows], [wanted[i] for i in rows])

    def feedforward(self, batch: Data) -> list[Vector]:
        self._kept = [self._feedforward(row) for row in batch.inputs]
        return [kept.logits for kept in self._kept]

    def _feedforward(self, row: SparseRow[float]) -> Kept:
        rows = [row]
        for layer in self._layers[:-1]:
            rows.append(self._activate(forward(layer, rows[-1])))
        return Kept(rows, forward(self._layers[-1], rows[-1]))

    def _activate(self, z: Vector) -> SparseRow[float]:
        match self.spec.activation:
            case "relu":
                positions = [unit for unit, x in enumerate(z) if x > 0]
                return SparseRow(positions, [z[unit] for unit in positions])
            case "sigmoid":
                return SparseRow(range(len(z)), [sigmoid(x) for x in z])
            case _:
                assert_never(self.spec.activation)

    def backprop(self, batch: Data) -> float:
        self._gradients = [zeros(shape) for shape in self.spec.shapes]
        share = 1 / len(batch.inputs)
        loss = 0.0
        for kept, wanted in zip(self._kept, batch.wanted, strict=True):
            example_loss, slopes = self._loss(kept.logits, wanted)
            loss += share * example_loss
            self._backprop(kept.rows, [(k, share * slope) for k, slope in enumerate(slopes)])
        return loss + self._penalize() if self.spec.l2 else loss

    def _backprop(self, rows: list[SparseRow[float]], delta: Delta) -> None:
        """Add one example's share to the gradients, from the last layer to the first."""
        for depth in reversed(range(len(rows))):
            accumulate(self._gradients[depth], rows[depth], delta)
            if depth > 0:
                delta = self._descend(self._layers[depth], rows[depth], delta)

    def _descend(self, layer: Dense, row: SparseRow[float], delta: Delta) -> Delta:
        """Carry delta down through a layer and the activation below it.

        Where ReLU gave zero its slope is zero, and so is that of a sigmoid: only the non-zero
        positions of ``row`` matter.
        """
        pick = picker(row.positions)
        sums = [0.0] * len(row.values)
        for unit, d in delta:
            sums = [s + d * w for s, w in zip(sums, pick(layer.weights[unit]), strict=True)]
        match self.spec.activation:
            case "relu":
                pass  # a slope of one
            case "sigmoid":
                sums = [s * a * (1 - a) for s, a in zip(sums, row.values, strict=True)]
            case _:
                assert_never(self.spec.activation)
        return list(zip(row.positions, sums, strict=True))
