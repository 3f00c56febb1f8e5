"""What both kernels compute with: rows without their zeros, the sigmoid, the losses of an example."""

from __future__ import annotations

import math
from array import array
from itertools import compress
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Vector = list[float]
T = TypeVar("T", int, float)


class SparseRow(NamedTuple, Generic[T]):
    """The non-zero values of a row, and their positions."""

    positions: Sequence[int]
    values: Sequence[T]

    def pack(self, typecode: str) -> SparseRow[T]:
        """Return a row of arrays, in four bytes for each position and the type's for each value."""
        return SparseRow(array("I", self.positions), array(typecode, self.values))

    def unpack(self) -> SparseRow[T]:
        """Return a row of lists, which loops read faster than arrays."""
        return SparseRow(list(self.positions), list(self.values))


def compact(row: list[float]) -> SparseRow[float]:
    """Keep the non-zero values of a row."""
    return SparseRow(list(compress(range(len(row)), row)), list(filter(None, row)))


def picker(positions: Sequence[int]) -> Callable[[Sequence[T]], Sequence[T]]:
    """Return a function that takes the values at some positions out of a row."""
    if len(positions) > 1:
        return itemgetter(*positions)  # in C, but for one position it returns no sequence
    return lambda row: [row[i] for i in positions]


def sigmoid(z: float) -> float:
    """Return 1 / (1 + e^-z), without overflow."""
    return 0.5 + 0.5 * math.tanh(0.5 * z)


def cross_entropy(logits: Vector, label: Any) -> tuple[float, Vector]:
    """Return the cross-entropy of a softmax, in nats."""
    largest = max(logits)
    powers = [math.exp(z - largest) for z in logits]
    total = sum(powers)
    slopes = [p / total for p in powers]
    slopes[label] -= 1
    return math.log(total) + largest - logits[label], slopes


def squared_error(logits: Vector, target: Any) -> tuple[float, Vector]:
    """Return the mean squared error of a sigmoid over the outputs."""
    outputs = [sigmoid(z) for z in logits]
    errors = [y - t for y, t in zip(outputs, target, strict=True)]
    share = 1 / len(errors)
    slopes = [2 * share * e * y * (1 - y) for e, y in zip(errors, outputs, strict=True)]
    return share * sum(e * e for e in errors), slopes
