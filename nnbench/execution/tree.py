"""A worker with all that it has started, as it is seen from outside: stopped, timed, watched.

A worker's own word is not needed for any of this. What it started stays below its supervisor
(``nnbench.execution.supervisor``), and the kernel says who is there, for how long each has computed, and
where it may. Off Linux nothing of it is to be had, and ``cpu_s`` is None.

Source: ``man 5 proc``.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, NamedTuple

from nnbench.execution import gpu, supervisor
from nnbench.execution.supervisor import numbered, read_stat
from nnbench.worker import memory
from nnbench.worker.counters import TICK_S, cpu_clock_s

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STOP_S = 1.0  #: how long a thread may take to be stopped; a system call may have to end first
PAUSE_S = 2e-5  #: between two looks at one that is being stopped
END_S = 2.0  #: for a supervisor to kill what is left; then it is killed itself
STOPPED = frozenset("TtZX")  #: states in which no instruction is run
LOOK_EVERY_S = 0.1  #: of timed calls: on average one look in so long a time
COMPUTES = 0.1  #: a thread that had so large a share of the busiest one's time has computed


class Standing(NamedTuple):
    """How the system schedules a process of this user's: any other one may change that, and none need ask."""

    policy: int
    priority: int  #: of real-time policies
    nice: int
    cpus: frozenset[int]

    @classmethod
    def own(cls) -> Standing | None:
        """Return that of this process; None where the system does not say."""
        if not supervisor.KNOWN:
            return None
        return cls(
            os.sched_getscheduler(0),
            os.sched_getparam(0).sched_priority,
            os.getpriority(os.PRIO_PROCESS, 0),
            frozenset(os.sched_getaffinity(0)),
        )

    def restore(self) -> bool:
        """Give this process such a standing again; tell whether it has it."""
        with suppress(OSError):
            os.sched_setaffinity(0, self.cpus)
            os.sched_setscheduler(0, self.policy, os.sched_param(self.priority))
            os.setpriority(os.PRIO_PROCESS, 0, self.nice)
        return Standing.own() == self


class Taken(NamedTuple):
    """Bytes of memory that processes have for themselves: what they share with nnbench is not theirs."""

    now: int
    peak: int


class Ran(NamedTuple):
    """What the kernel counts of a thread."""

    cpu_s: float
    waited_s: float  #: for a CPU, although it could have run


class Count(NamedTuple):
    """What it has counted of a tree so far."""

    cpu_s: float | None  #: of all threads, ended ones too; None where the system does not say
    threads: dict[int, Ran]  #: those that live, by number; none where the kernel keeps no count

    @property
    def waited_s(self) -> float | None:
        """For how long they have waited; threads that have ended take theirs with them."""
        return sum(ran.waited_s for ran in self.threads.values()) if self.threads else None

    def computing(self, since: Count) -> int | None:
        """Return how many threads have computed since another count, or None.

        What threads had that have ended is in the sum alone: where one of them could have been another
        one that computed, the number is not known.
        """
        none = Ran(0.0, 0.0)
        used = [ran.cpu_s - since.threads.get(n, none).cpu_s for n, ran in self.threads.items()]
        if self.cpu_s is None or since.cpu_s is None or not any(used):
            return None
        least = COMPUTES * max(used)
        if self.cpu_s - since.cpu_s - sum(used) >= least:
            return None
        return sum(each >= least for each in used)


class Tree:
    """The processes below a supervisor.

    Parameters
    ----------
    root
        The supervisor's process: a child of this one.
    """

    def __init__(self, root: int) -> None:
        self.root = root
        self.standing = Standing.own()  #: of this process, before any of those could change it
        self._members: list[int] = []
        self._strangers: set[int] = {os.getpid()}  # seen to be outside, where they stay
        self._stopped: set[int] = set()
        self._counted_s = 0.0

    def members(self) -> list[int]:
        """Return what lives below the supervisor now."""
        if not supervisor.KNOWN:
            return []
        pids = set(numbered("/proc"))
        self._strangers &= pids
        parents = {p: s.parent for p in pids - self._strangers if (s := read_stat(p))}
        inside = {self.root}
        waiting = parents.keys() - inside
        while found := {pid for pid in waiting if parents[pid] in inside}:
            inside |= found
            waiting -= found
        # One whose parent has ended meanwhile has another one by now, perhaps the supervisor.
        while found := {p for p in waiting if parents[p] in self._strangers or not parents[p]}:
            self._strangers |= found
            waiting -= found
        self._members = sorted(inside - {self.root})
        return self._members

    def stop(self) -> bool:
        """Stop every process; return False if one could not be within a second."""
        end = time.monotonic() + STOP_S
        while new := [pid for pid in self.members() if pid not in self._stopped]:
            for pid in new:
                _send(pid, signal.SIGSTOP)
            for pid in new:
                while not _is_stopped(pid):
                    if time.monotonic() > end:
                        return False
                    time.sleep(PAUSE_S)
            self._stopped.update(new)  # while it was stopped it may have started others
        return True

    def go_on(self) -> None:
        """Let everything run again."""
        for pid in self._members:
            _send(pid, signal.SIGCONT)
        self._stopped.clear()

    def cpu_s(self) -> float | None:
        """Return for how many seconds all processes have computed, ended ones too; it never falls.

        Of what lives it is known to the nanosecond, of what has ended to a tick of the kernel's.
        Between ``stop`` and ``go_on`` it does not change.
        """
        if not supervisor.KNOWN:
            return None
        members = self._members if self._stopped else self.members()
        # A child that ends in between is counted by neither, rather than by both.
        stats = [read_stat(pid) for pid in (self.root, *members)]
        total = TICK_S * sum(stat.ended_ticks for stat in stats if stat)
        total += sum(map(cpu_clock_s, members))
        self._counted_s = max(self._counted_s, total)
        return self._counted_s

    def count(self) -> Count:
        """Return what the kernel has counted of all threads."""
        cpu_s = self.cpu_s()
        threads = ((pid, thread) for pid in self._members for thread in _threads(pid))
        counts = ((thread, _ran(f"/proc/{pid}/task/{thread}")) for pid, thread in threads)
        return Count(cpu_s, {thread: ran for thread, ran in counts if ran})

    def memory(self) -> Taken | None:
        """Return what the living processes have in memory; None where the system does not say."""
        members = self._members if self._stopped else self.members()
        taken = [each for pid in members if (each := _taken(pid))]
        return Taken(*map(sum, zip(*taken, strict=True))) if taken else None

    def look(self, cpus: Sequence[int], device: str) -> list[str]:
        """Return what is not allowed of what can be seen now.

        Parameters
        ----------
        cpus
            That the worker was given; none is any.
        device
            That the backend says to use.
        """
        found = self.meddling()
        members = self.members()
        for pid in members if cpus else ():
            others = {cpu for tid in _threads(pid) for cpu in _affinity(tid)} - set(cpus)
            if others:
                found.append(f"could run on CPU {_listed(others)}, was given {_listed(cpus)}")
        given = self.standing and (self.standing.policy, self.standing.nice)
        if any(priority not in {None, given} for pid in members for priority in _priorities(pid)):
            found.append("ran at another priority than it was given")
        if device == "cpu" and not gpu.holders().isdisjoint(members):
            found.append("has memory on a GPU, as a backend of the device cpu")
        return found

    def meddling(self) -> list[str]:
        """Say so if this process is scheduled in another way than when the tree was young.

        It inherits that to every later worker; and one that is kept waiting forgives a worker's clock.
        """
        return (
            []
            if Standing.own() == self.standing
            else ["nnbench was scheduled in another way while it ran"]
        )

    def kill(self) -> None:
        """Kill everything, the supervisor too; its parent collects it."""
        if supervisor.KNOWN:
            _send(self.root, signal.SIGTERM)
            _send(self.root, signal.SIGCONT)
            end = time.monotonic() + END_S
            while time.monotonic() < end and not _is_ended(self.root):
                time.sleep(PAUSE_S)
            for pid in self.members():
                _send(pid, signal.SIGKILL)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.root, signal.SIGKILL)


class Watch:
    """Looks at a tree while a timed call runs, at a moment that nobody can foresee."""

    def __init__(self, tree: Tree, cpus: Sequence[int], device: str) -> None:
        self.violations: list[str] = []
        self._tree, self._cpus, self._device = tree, cpus, device
        self.counts: list[Count] = []  #: made at each look, for whoever measures the call
        self._random = SystemRandom()
        self._at: float | None = None

    def begin(self, expected_s: float) -> None:
        """Begin a call that should take so long; a short one is not always looked at."""
        looks = self._random.random() * LOOK_EVERY_S < expected_s
        self._at = time.monotonic() + self._random.random() * expected_s if looks else None

    def due_s(self, most: float) -> float:
        """Return in how many seconds to call ``poll``, ``most`` at most."""
        return most if self._at is None else min(most, max(0.0, self._at - time.monotonic()))

    def poll(self) -> None:
        """Look if it is time to."""
        if self._at is not None and time.monotonic() >= self._at:
            self._at = None
            self.counts.append(self._tree.count())
            self.note(self._tree.look(self._cpus, self._device))

    def note(self, seen: Sequence[str]) -> None:
        """Keep what is not allowed."""
        self.violations += [each for each in seen if each not in self.violations]


def own_wait_s() -> float | None:
    """Return for how long the thread that asks has waited for a CPU; None if the kernel keeps no count."""
    ran = _ran("/proc/thread-self")
    return ran.waited_s if ran else None


def _send(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _ran(folder: str) -> Ran | None:
    try:
        ran_ns, waited_ns, _ = map(int, Path(folder, "schedstat").read_text().split())
    except (OSError, ValueError):
        return None
    return Ran(ran_ns * 1e-9, waited_ns * 1e-9)


def _taken(pid: int) -> Taken | None:
    found = memory.resident(Path(f"/proc/{pid}"))
    if found is None:
        return None
    peak = max(found.now, found.peak)
    return Taken(max(0, found.now - found.shared), max(0, peak - found.shared))


def _threads(pid: int) -> list[int]:
    return numbered(f"/proc/{pid}/task")


def _is_stopped(pid: int) -> bool:
    stats = (read_stat(thread) for thread in _threads(pid))
    return all(stat is None or stat.state in STOPPED for stat in stats)


def _is_ended(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is None or stat.state in "ZX"


def _priorities(pid: int) -> Iterator[tuple[int, int] | None]:
    """Yield policy and nice value of a process's threads; None of one that has ended, or is not to be asked."""
    for thread in _threads(pid) if supervisor.KNOWN else ():
        try:
            yield os.sched_getscheduler(thread), os.getpriority(os.PRIO_PROCESS, thread)
        except OSError:
            yield None


def _affinity(thread: int) -> set[int]:
    try:
        return os.sched_getaffinity(thread)
    except OSError:
        return set()


def _listed(numbers: Sequence[int] | set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
