"""Decide the status of a cell that ran, and the exit code of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nnbench.cells import guards
from nnbench.cells.evaluation import deviation
from nnbench.cells.records import FAILED, MEASURED, WRONG
from nnbench.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from nnbench.cells.evaluation import Expected
    from nnbench.cells.records import CellResult, Status


def judge(result: CellResult, expected: Expected, target: float | None) -> CellResult:
    """Return the result with its deviation from the reference, and its status if that is bad.

    A cell whose worker did not end well keeps that status. Otherwise, in this order: losses
    beyond the reference's tolerance are ``invalid``, and so is what cannot be true
    (``nnbench.cells.guards``); any loss that is not finite is ``diverged``; a complete training below the
    target accuracy is ``target_missed``.
    """
    strayed = deviation(result.losses, expected.losses)
    result = replace(result, deviation=strayed, tolerance=expected.tolerance)
    if result.status != "ok":
        return result
    status, message = _verdict(result, expected, target)
    return replace(result, status=status, message=message)


def _verdict(result: CellResult, expected: Expected, target: float | None) -> tuple[Status, str]:
    strayed, tolerance = result.deviation, expected.tolerance
    if strayed is not None and strayed > tolerance:
        text = f"the first losses stray {strayed:.1e} from the reference, more than {tolerance:.0e}"
        return "invalid", f"{text}; nnbench test names mistakes"
    if problem := guards.problem(result, moves=expected.moves):
        return "invalid", problem
    if None in result.losses or not result.losses or result.epochs[-1].test_loss is None:
        return "diverged", "the loss is not finite"
    if target is not None and result.complete and result.time_to(target) is None:
        best = max(epoch.accuracy or 0 for epoch in result.epochs)
        return "target_missed", f"reached {best:.2%}, not {target:.2%}"
    return "ok", ""


def exit_code(cells: Iterable[CellResult], required: Collection[str]) -> ExitCode:
    """Return what a run ends with.

    ``required`` holds the backends that the user named: one of them that turns out to be
    unavailable has failed, whereas among "all" it is only skipped.
    """
    cells = list(cells)
    skipped = any(c.status == "skipped" and c.backend in required for c in cells)
    if skipped or any(cell.status in FAILED for cell in cells):
        return ExitCode.BACKEND_FAILED
    if any(cell.status in WRONG for cell in cells):
        return ExitCode.ACCURACY
    if not any(cell.status in MEASURED for cell in cells):
        return ExitCode.NOTHING_MEASURED
    return ExitCode.OK
