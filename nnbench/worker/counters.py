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
MOST_BYTES = 1 << 20  #: of such a file
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
    folder, waits = f"{root}/self/task", {}
    for thread in _names(folder):
        counted = _content(f"{folder}/{thread}/schedstat").split()
        if counted:  # the thread lives, and the kernel keeps such statistics
            waits[thread] = int(counted[1]) * 1e-9
    return waits


def _stolen(cpus: Sequence[int], root: Path) -> dict[str, float]:
    names = {f"cpu{cpu}".encode() for cpu in cpus}
    lines = map(bytes.split, _content(f"{root}/stat").splitlines() if names else [])
    return {line[0].decode(): int(line[STEAL]) * TICK_S for line in lines if line[0] in names}


# Paths take three times as long where nothing is in a cache any more, and so would be most of what a call costs off its clock.


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)  # noqa: PTH208 - see above
    except OSError:
        return []


def _content(path: str) -> bytes:
    """Return what a file of the kernel's holds; nothing if there is none."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(file, MOST_BYTES)
    except OSError:
        return b""
    finally:
        os.close(file)


def between(before: Reading, after: Reading) -> Usage:
    """Return what was counted between two readings."""
    waited = [s - before.waited_s.get(thread, 0.0) for thread, s in after.waited_s.items()]
    stolen = [s - before.steal_s.get(cpu, 0.0) for cpu, s in after.steal_s.items()]
    return Usage(
        cpu_s=after.cpu_s - before.cpu_s,
        involuntary_switches=after.involuntary_switches - before.involuntary_switches,
        waited_s=max(waited, default=None),
        steal_s=max([0.0, *stolen]),  # a kernel may take some of it back
    )
