"""Decide the status of a cell that ran, and the exit code of a run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from nnbench.contract.errors import ExitCode, gravest
from nnbench.execution import guards
from nnbench.proof.evaluation import deviation
from nnbench.records import Kind, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from nnbench.proof.evaluation import Expected
    from nnbench.records import CellResult


def judge(result: CellResult, expected: Expected, target: float | None) -> CellResult:
    """Return the result with its deviation from the reference, and its status if that is bad.

    A cell whose worker did not end well keeps that status. Otherwise, in this order: losses
    beyond the reference's tolerance are ``invalid``, and so is what cannot be true
    (``nnbench.execution.guards``); any loss that is not finite is ``diverged``; a complete training below the
    target accuracy is ``target_missed``; one that the budget ended is ``budget``.
    """
    strayed = deviation(result.losses, expected.losses)
    result = replace(result, deviation=strayed, tolerance=expected.tolerance)
    if result.status is not Status.OK:
        return result
    status, message = _verdict(result, expected, target)
    return replace(result, status=status, message=message)


def _verdict(result: CellResult, expected: Expected, target: float | None) -> tuple[Status, str]:
    strayed, tolerance = result.deviation, expected.tolerance
    if strayed is not None and strayed > tolerance:
        text = f"the first losses stray {strayed:.1e} from the reference, more than {tolerance:.0e}"
        return Status.INVALID, f"{text}; nnbench test names mistakes"
    if problem := guards.problem(result, moves=expected.moves):
        return Status.INVALID, problem
    if None in result.losses or not result.losses or result.epochs[-1].test_loss is None:
        return Status.DIVERGED, "the loss is not finite"
    if target is not None and result.complete and result.time_to(target) is None:
        best = max(epoch.accuracy or 0 for epoch in result.epochs)
        return Status.TARGET_MISSED, f"reached {best:.2%}, not {target:.2%}"
    return Status.OK if result.complete else Status.BUDGET, ""


def exit_code(cells: Iterable[CellResult], required: Collection[str]) -> ExitCode:
    """Return what a run ends with.

    ``required`` holds the backends that the user named: one of them that turns out to be
    unavailable has failed, whereas among "all" it is only skipped.
    """
    return gravest(_code(cell, is_required=cell.backend in required) for cell in cells)


def _code(cell: CellResult, *, is_required: bool) -> ExitCode | None:
    match cell.status.kind:
        case Kind.MEASURED:
            return ExitCode.OK
        case Kind.WRONG:
            return ExitCode.ACCURACY
        case Kind.FAILED:
            return ExitCode.BACKEND_FAILED
        case Kind.SKIPPED:
            return ExitCode.BACKEND_FAILED if is_required else None
        case unknown:
            assert_never(unknown)
