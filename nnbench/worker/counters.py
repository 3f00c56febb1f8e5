"""What the kernel counts of a process and its CPUs, read around every timed call.

A backend that sleeps or waits for a device has lost nothing: what counts is the time in which a
thread could have run and was kept waiting. ``nnbench.execution.disturbance`` decides by the sums.

Sources: ``man 5 proc`` and the kernel's Documentation/scheduler/sched-stats.rst.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

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
