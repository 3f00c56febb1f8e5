"""Find out whether something took the CPU from a cell while it was timed.

The worker reads the kernel's counters around every timed call; the parent decides by their sums.
A backend that sleeps or waits for a device has lost nothing: what counts is the time in which a
thread could have run and was kept waiting. docs/measurement.md has the measurements behind the
thresholds.

Sources: ``man 5 proc`` and the kernel's Documentation/scheduler/sched-stats.rst.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nnbench.execution import gpu

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.records import CellResult, Epoch

REPEATS = 2  #: how often a disturbed cell is run again
LOST_SHARE = 0.03  #: of the training time; left alone, nearly all cells lose less
SHORTEST_S = 0.05  #: of training; below it a single timer tick would decide
SLICE_S = 0.004  #: what an involuntary switch costs at most, where the kernel does not say
TICK_S = 1 / os.sysconf("SC_CLK_TCK")  #: the grain of /proc/stat
STEAL = 8  #: its column in a CPU's line of /proc/stat


class Reading(NamedTuple):
    """What the kernel has counted so far."""

    cpu_s: float
    involuntary_switches: int
    waited_s: dict[str, float]  #: by thread; empty where the kernel does not say
    steal_s: dict[str, float]  #: by CPU; empty where the kernel does not say


class Usage(NamedTuple):
    """What it counted between two readings."""

    cpu_s: float  #: of all threads together
    involuntary_switches: int
    waited_s: float | None  #: by the thread that waited longest for a CPU; None is unknown
    steal_s: float  #: taken by other virtual machines, from the CPU that lost most


def read(cpus: Sequence[int] = (), root: Path = Path("/proc")) -> Reading:
    """Read the counters of this process and of the CPUs that it is pinned to."""
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    return Reading(time.process_time(), switches, _waited(root), _stolen(cpus, root))


def _waited(root: Path) -> dict[str, float]:
    """Return for how long each thread has waited for a CPU: schedstat's second figure, in ns."""
    waits = {}
    for thread in root.glob("self/task/*"):
        try:
            waits[thread.name] = int((thread / "schedstat").read_text().split()[1]) * 1e-9
        except OSError:  # the thread has ended, or the kernel keeps no such statistics
            continue
    return waits


def _stolen(cpus: Sequence[int], root: Path) -> dict[str, float]:
    names, stat = {f"cpu{cpu}" for cpu in cpus}, root / "stat"
    if not (names and stat.exists()):
        return {}
    lines = map(str.split, stat.read_text().splitlines())
    return {line[0]: int(line[STEAL]) * TICK_S for line in lines if line[0] in names}


def between(before: Reading, after: Reading) -> Usage:
    """Return what was counted between two readings."""
    waited = [s - before.waited_s.get(thread, 0.0) for thread, s in after.waited_s.items()]
    stolen = [s - before.steal_s.get(cpu, 0.0) for cpu, s in after.steal_s.items()]
    return Usage(
        cpu_s=after.cpu_s - before.cpu_s,
        involuntary_switches=after.involuntary_switches - before.involuntary_switches,
        waited_s=max(waited, default=None),
        steal_s=max(stolen, default=0.0),
    )


def lost_share(result: CellResult) -> float:
    """Return which share of a cell's training time it was kept from running, 0 at least.

    Threads that waited may have waited for each other: they have lost no more to others than
    the CPU time that their process did not use.
    """
    unused = result.threads * result.train_s - sum(epoch.cpu_s for epoch in result.epochs)
    waited = sum(map(_kept_waiting, result.epochs))
    stolen = sum(epoch.steal_s for epoch in result.epochs) - TICK_S
    lost = max(0.0, min(waited, unused)) + max(0.0, stolen)
    return lost / result.train_s if result.train_s else 0.0


def _kept_waiting(epoch: Epoch) -> float:
    return epoch.involuntary_switches * SLICE_S if epoch.waited_s is None else epoch.waited_s


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
