"""Decide whether something took the CPU, or a GPU's clock, from a cell while it was timed.

The worker reads the kernel's counters around every timed call (``nnbench.worker.counters``); their
sums decide. docs/measurement.md has the measurements behind the thresholds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nnbench.execution import gpu
from nnbench.worker.counters import TICK_S

if TYPE_CHECKING:
    from nnbench.records.cells import CellResult

REPEATS = 2  #: how often a disturbed cell is run again
LOST_SHARE = 0.03  #: of the training time; left alone, nearly all cells lose less
SHORTEST_S = 0.05  #: of training; below it a single timer tick would decide
SLICE_S = 0.004  #: what an involuntary switch costs at most, where the kernel does not say


def lost_share(result: CellResult) -> float:
    """Return which share of a cell's training time it was kept from running, 0 at least.

    Threads that waited may have waited for each other: they have lost no more to others than
    the CPU time that their process did not use.
    """
    unused = result.threads * result.train_s - sum(epoch.cpu_s for epoch in result.epochs)
    waited = sum(
        epoch.involuntary_switches * SLICE_S if epoch.waited_s is None else epoch.waited_s
        for epoch in result.epochs
    )
    stolen = sum(epoch.steal_s for epoch in result.epochs) - TICK_S
    lost = max(0.0, min(waited, unused)) + max(0.0, stolen)
    return lost / result.train_s if result.train_s else 0.0


def is_disturbed(result: CellResult) -> bool:
    """Tell whether the times of a measured cell are not to be trusted."""
    if not result.status.counts or result.train_s < SHORTEST_S:
        return False
    return lost_share(result) > LOST_SHARE or bool(gpu.throttle_reasons(result.gpu))


def mark(result: CellResult, attempt: int) -> CellResult:
    """Return the result of an attempt; it is final unless the cell has to be repeated.

    A training that the budget ended is not repeated: it is slow, and extrapolated anyway.
    """
    disturbed = is_disturbed(result)
    final = not disturbed or not result.complete or attempt == REPEATS
    return replace(result, attempt=attempt, disturbed=disturbed, final=final)


def settle(result: CellResult) -> CellResult:
    """Return a result that was judged: what is disturbed is said of times that count, and no others."""
    if not result.disturbed:
        return result
    if not result.status.counts:
        return replace(result, disturbed=False)
    return replace(result, flags=[_reason(result), *result.flags])


def _reason(result: CellResult) -> str:
    throttled = ", ".join(gpu.throttle_reasons(result.gpu))
    lost = f"{lost_share(result):.0%} of the time without a CPU"
    return f"disturbed: {f'GPU throttled, {throttled}' if throttled else lost}"
