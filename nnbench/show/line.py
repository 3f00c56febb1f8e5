"""A finished cell in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench.figures import metrics
from nnbench.figures.values import significant

if TYPE_CHECKING:
    from nnbench.records import CellResult


def describe(result: CellResult) -> str:
    """Sum up a finished cell in one line."""
    head = f"round {result.round + 1} {result.backend}"
    if not result.status.counts:
        return f"{head}: {result.status}: {result.message}"
    accuracy = metrics.accuracy(result)
    reached = "" if accuracy is None else f", accuracy {accuracy:.2%}"
    trained = f"{result.images:,} images in {significant(result.train_s)} s"
    again = "" if result.final else "; disturbed, once more"
    return f"{head}: {trained}{reached}{again}{': ' + result.message if result.message else ''}"
