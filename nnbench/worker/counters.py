"""What the kernel counts of a worker and its CPUs, read around every timed call.

A backend that sleeps or waits for a device has lost nothing: what counts is the time in which a
thread could have run and was kept waiting. ``nnbench.execution.disturbance`` decides by the sums.

A backend that trains in parallel has processes below the worker's, whose CPU time counts. They are looked for
once, when the warm-up is over, so that a call costs no more where there are none. Their waits do not count: in a process
that speaks with others one thread sends, another computes, and each waits for the other to give the CPU back.

Sources: ``man 5 proc``, the kernel's Documentation/scheduler/sched-stats.rst, and for the clock of another process
``man 3 clock_getcpuclockid`` and linux/posix-timers.h.
"""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

TICK_S = 1 / os.sysconf("SC_CLK_TCK")  #: the grain of /proc/stat
MOST_BYTES = 1 << 20  #: of such a file
STEAL = 8  #: its column in a CPU's line of /proc/stat
CPU_CLOCK = 2  #: CPUCLOCK_SCHED of linux/posix-timers.h: of all threads, ended ones too


class Reading(NamedTuple):
    """What the kernel has counted so far."""

    cpu_s: float  #: of processes below, too
    involuntary_switches: int
    waited_s: dict[str, float]  #: by thread; empty where the kernel does not say
    steal_s: dict[str, float]  #: by CPU; empty where the kernel does not say


class Usage(NamedTuple):
    """What it counted between two readings."""

    cpu_s: float  #: of all threads together
    involuntary_switches: int
    waited_s: float | None  #: by the thread that waited longest for a CPU; None is unknown
    steal_s: float  #: taken by other virtual machines, from the CPU that lost most


def read(
    cpus: Sequence[int] = (), below: Sequence[int] = (), root: Path = Path("/proc")
) -> Reading:
    """Read the counters of this process and of the CPUs that it is pinned to, and the CPU time of those below."""
    switches = resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
    cpu_s = time.process_time() + sum(map(cpu_clock_s, below))
    return Reading(cpu_s, switches, _waited(root), _stolen(cpus, root))


def descendants(root: Path = Path("/proc")) -> list[int]:
    """Return the processes below this one; none where the kernel does not say."""
    found: list[int] = []
    waiting = ["self"]
    while waiting:
        folder = f"{root}/{waiting.pop()}/task"
        children = [_content(f"{folder}/{thread}/children").split() for thread in _names(folder)]
        own = [child.decode() for each in children for child in each]
        found += map(int, own)
        waiting += own
    return sorted(found)


def cpu_clock_s(pid: int) -> float:
    """Return for how many seconds all threads of a process have computed; 0 once it has ended."""
    with suppress(OSError):
        return time.clock_gettime(~pid << 3 | CPU_CLOCK)
    return 0.0


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
        cpu_s=max(0.0, after.cpu_s - before.cpu_s),  # what has ended took its own with it
        involuntary_switches=after.involuntary_switches - before.involuntary_switches,
        waited_s=max(waited, default=None),
        steal_s=max([0.0, *stolen]),  # a kernel may take some of it back
    )
