"""Rows of numbers that know where their zeros are not."""

from __future__ import annotations

from array import array
from itertools import compress
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class SparseRow(NamedTuple):
    """The non-zero values of a row, and their positions."""

    positions: Sequence[int]
    values: Sequence[float]

    def unpack(self) -> SparseRow:
        """Return a row of lists, which loops read faster than arrays."""
        return SparseRow(list(self.positions), list(self.values))


def compact(row: list[float]) -> SparseRow:
    """Keep the non-zero values of a row, in four bytes each."""
    return SparseRow(array("I", compress(range(len(row)), row)), array("f", filter(None, row)))


def picker(positions: Sequence[int]) -> Callable[[Sequence[float]], Sequence[float]]:
    """Return a function that takes the values at some positions out of a row."""
    if len(positions) > 1:
        return itemgetter(*positions)  # in C, but for one position it returns no sequence
    return lambda row: [row[i] for i in positions]
