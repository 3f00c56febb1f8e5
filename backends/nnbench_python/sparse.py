"""Rows of numbers that know where their zeros are not."""

from __future__ import annotations

from array import array
from itertools import compress
from operator import itemgetter
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
