"""Decide the status of a cell that ran, and the exit code of a run.

A cell's first losses are held against those of the float64 reference, its clock against what can
be (``nnbench.proof.guards``).
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple, assert_never

import numpy as np

from nnbench import reference
from nnbench.contract.errors import ExitCode, gravest
from nnbench.contract.spec import minibatches
from nnbench.proof import guards
from nnbench.records import Kind, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from nnbench.data.task import Task
    from nnbench.records import CellResult

STEPS = 20  #: how many losses are held against the reference
TOLERANCE = 1e-4  #: relative, for float32 backends
ROUNDING_FACTOR = 10  #: how much worse than the reference in float32 a backend may be


class Expected(NamedTuple):
    """The reference's first losses, and what they and their rounding say of a float32 backend."""

    losses: list[float]
    tolerance: float  #: how far it may stray
    moves: bool = True  #: whether its parameters change at all


def expected_losses(task: Task, steps: int = STEPS) -> Expected:
    """Train the reference on a task's first batches.

    The tolerance is 1e-4, or ten times what rounding to float32 alone does to the reference
    where that is more, as it is with a learning rate so high that training is chaotic.
    """
    every = (index for order in task.orders() for index in minibatches(order, task.batch_size))
    batches = [task.train.rows(index) for index in islice(every, steps)]
    with np.errstate(all="ignore"):
        exact, _ = reference.train(task.network, task.layers, batches)
        rounded, layers = reference.train(task.network, task.layers, batches, np.float32)
    spread = deviation(rounded, exact)
    tolerance = TOLERANCE if spread is None else max(TOLERANCE, ROUNDING_FACTOR * spread)
    return Expected(exact, tolerance, moves=not reference.equal(layers, task.layers))


def deviation(losses: Sequence[float | None], expected: Sequence[float]) -> float | None:
    """Return the largest relative deviation; None if nothing finite can be compared."""
    pairs = [
        (loss, other)
        for loss, other in zip(losses, expected, strict=False)
        if loss is not None and math.isfinite(loss) and math.isfinite(other)
    ]
    return max((abs(a - b) / max(abs(b), 1e-12) for a, b in pairs), default=None)


def judge(result: CellResult, expected: Expected, target: float | None) -> CellResult:
    """Return the result with its deviation, its status if that is bad, and its remarks.

    A cell whose worker did not end well keeps that status. Otherwise, in this order: losses
    beyond the reference's tolerance are ``invalid``, and so is what cannot be true
    (``nnbench.proof.guards``); any loss that is not finite is ``diverged``; a complete training below the
    target accuracy is ``target_missed``; one that the budget ended is ``budget``.
    """
    strayed = deviation(result.losses, expected.losses)
    result = replace(result, deviation=strayed, tolerance=expected.tolerance)
    if result.status is Status.OK:
        status, message = _verdict(result, expected, target)
        result = replace(result, status=status, message=message)
    return replace(result, flags=[*guards.remarks(result)] if result.status.counts else [])


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


def exit_code(
    cells: Iterable[CellResult], required: Collection[str], *, require_proof: bool = False
) -> ExitCode:
    """Return what a run ends with.

    Parameters
    ----------
    cells
        The attempt at each cell that counts.
    required
        The backends that the user named: one of them that turns out to be unavailable has failed,
        whereas among "all" it is only skipped.
    require_proof
        Whether a cell of which a step was not proved has failed.
    """
    return gravest(
        _code(cell, is_required=cell.backend in required, require_proof=require_proof)
        for cell in cells
    )


def _code(cell: CellResult, *, is_required: bool, require_proof: bool) -> ExitCode | None:
    match cell.status.kind:
        case Kind.MEASURED if require_proof and not (cell.proof and cell.proof.is_whole):
            return ExitCode.ACCURACY
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
