"""A row of bars that shows how values follow one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """Draw a bar for each value: the lowest one at their minimum, the highest at their maximum.

    Values that are all equal have bars of medium height.
    """
    low, high, top = min(values), max(values), len(BARS) - 1
    if low == high:
        return BARS[top // 2] * len(values)
    return "".join(BARS[round((value - low) / (high - low) * top)] for value in values)
