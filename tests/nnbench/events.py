"""What a run announces of its cells, made from what became of them."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from nnbench.records.events import Failed, Finished, Progress, Ready
from tests.cells import make_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnbench.records.cells import CellResult, CellSpec
    from nnbench.records.events import Event


def spec_of(cell: CellResult) -> CellSpec:
    """Return what the worker of a cell was asked."""
    return make_spec(label=cell.backend, round=cell.round, point=cell.point)


def events_of(cell: CellResult) -> Iterator[Event]:
    """Yield what its worker sent."""
    assert cell.setup
    yield Ready(cell.setup, cell.precision)
    parts = [(epoch.number, part) for epoch in cell.epochs for part in epoch.parts]
    images = accumulate(part.images for _, part in parts)
    seconds = accumulate(part.train_s for _, part in parts)
    for (number, part), seen, spent in zip(parts, images, seconds, strict=True):
        yield Progress(number, seen, spent, 0.5, [part])
    if cell.status.counts:
        yield Finished(None, None, complete=cell.complete)
    else:
        yield Failed(cell.status, cell.message)
