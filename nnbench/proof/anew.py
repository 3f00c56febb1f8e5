"""What was judged before, as another judge gets it, on this machine or on another."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from nnbench.records.cells import Deviations, Limits, Status

if TYPE_CHECKING:
    from nnbench.records.cells import CellResult

WIDEST = 3.0  #: a recorded tolerance may be so many times what is measured here


def as_sent(cell: CellResult) -> CellResult:
    """Return a result as it was before it was judged."""
    epochs = [replace(epoch, test_loss=None, accuracy=None) for epoch in cell.epochs]
    return replace(
        cell,
        status=Status.OK,
        message="",
        other_optimizer="",
        epochs=epochs,
        proof=None,
        deviation=None,
        tolerance=None,
        changed=None,
        flags=[],
    )


def either_limits(cell: CellResult, here: Limits) -> Limits:
    """Return the recorded tolerance where it could have been measured here, and this machine's elsewhere.

    Machines round in another order, and cut parts to another length.
    """
    if cell.proof is None:
        return here

    def either(was: float | None, now: float | None) -> float | None:
        return was if was is not None and now is not None and was <= WIDEST * now else now

    names = [field.name for field in fields(Deviations)]
    pairs = ((getattr(cell.proof.tolerance, name), getattr(here.tolerance, name)) for name in names)
    chosen = dict(zip(names, (either(*pair) for pair in pairs), strict=True))
    return replace(here, tolerance=Deviations(**chosen))
