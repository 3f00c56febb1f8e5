"""Options with several values: each combination of them is a point of a run, or what goes together."""

from __future__ import annotations

import itertools
import math
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from nnbench.contract.errors import NnbenchError
from nnbench.figures.axes import AXES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from typing import Any, Self

    Values = Mapping[str, Sequence[Any]]

MOST_POINTS = 100  #: of a run


class Axes(NamedTuple):
    """Options with several values, by the name of the option."""

    grid: Values = MappingProxyType({})  #: each value with each of the others
    zip: Values = MappingProxyType({})  #: the first of each with the first of the others, and so on

    def check(self) -> None:
        """Refuse what makes no points, or too many.

        Raises
        ------
        NnbenchError
            If an axis stands in both, or lists that go together have unlike lengths.
        """
        if both := [axis for axis in self.grid if axis in self.zip]:
            raise NnbenchError(f"{both[0]} is an axis of the grid, and of zip")
        lengths = {axis: len(values) for axis, values in self.zip.items()}
        if len({*lengths.values()}) > 1:
            told = ", ".join(f"{axis} has {count}" for axis, count in lengths.items())
            raise NnbenchError(f"what goes together has one value for each of the others: {told}")
        count = math.prod(map(len, self.grid.values())) * next(iter(lengths.values()), 1)
        if count > MOST_POINTS:
            raise NnbenchError(f"{count:,} points are more than the {MOST_POINTS} of a run")

    def combinations(self) -> Iterator[dict[str, Any]]:
        """Yield the values of each point, by the axis: the last axis changes first."""
        order = [axis for axis in AXES if axis in self.grid]
        rows = [*zip(*self.zip.values(), strict=True)] if self.zip else [()]
        for *values, row in itertools.product(*(self.grid[axis] for axis in order), rows):
            yield dict(zip(order, values, strict=True)) | dict(zip(self.zip, row, strict=True))

    def without(self, names: Collection[str]) -> Self:
        """Return what is left if some have another value."""
        return type(self)(
            *({axis: values for axis, values in own.items() if axis not in names} for own in self)
        )
