"""Clocks that cannot be right, and remarks on those that may not be.

A backend may return losses without work, stop its clock before the device is done, or leave the
parameters as they were. What is physically impossible, or contradicts itself, makes a cell
``invalid``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnbench.records import CellResult

SLACK = 1.1  #: the ceiling's own noise: an achieved speed up to this much above it passes
DEVICE_SHARE, DEVICE_CALL_S = 0.05, 1e-3  #: how far two clocks may differ: of all, and each call


def problem(result: CellResult, *, moves: bool) -> str | None:
    """Return why a cell's clock cannot be right, or None.

    ``moves``: whether the parameters of the reference change, if rounded to float32.
    """
    achieved, limit = result.achieved_gflops, result.ceiling_gflops
    if moves and result.changed is False and result.losses:
        return "the parameters did not change"
    if achieved and limit and achieved > SLACK * limit:
        most = f"this machine's matrix products reach {limit:.0f}"
        return f"{achieved:.0f} GFLOP/s cannot be, {most}"
    return _clocks_disagree(result)


def _clocks_disagree(result: CellResult) -> str | None:
    by_device = [epoch.device_s for epoch in result.epochs if epoch.device_s is not None]
    if not by_device or len(by_device) < len(result.epochs):
        return None
    calls = sum(epoch.calls for epoch in result.epochs)
    tolerance = DEVICE_SHARE * result.train_s + DEVICE_CALL_S * calls
    if abs(sum(by_device) - result.train_s) <= tolerance:
        return None
    return f"trained {result.train_s:.4g} s by the host's clock, {sum(by_device):.4g} s by the device's"


def remarks(result: CellResult) -> Iterator[str]:
    """Yield what makes the times of a cell less sure, or could not be checked."""
    if compiled := sum(epoch.compilations for epoch in result.epochs):
        yield f"compiled {compiled} time{'s' if compiled > 1 else ''} while timed"
    for name, threads in (result.setup.thread_pools if result.setup else {}).items():
        if threads != result.threads:
            yield f"{name} has {threads} threads, {result.threads} asked for"
    if result.achieved_gflops and result.ceiling_gflops is None:
        yield "no ceiling of the FLOP/s was measured"
