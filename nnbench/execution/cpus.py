"""Which CPUs the cells of a block are pinned to: the least busy ones that no other nnbench holds.

A lock in the folder that all users of the machine share stands for each CPU. It ends with its
process, however that ends. docs/measurement.md says how CPUs are chosen, and who waits for some.

Sources: ``man 2 flock``; ``man 5 proc``; the kernel's Documentation/admin-guide/cputopology.rst and
Documentation/admin-guide/sysctl/fs.rst (``protected_regular``).
"""

from __future__ import annotations

import fcntl
import os
import random
import resource
import time
import warnings
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nnbench import kernel
from nnbench.execution import machine
from nnbench.execution.machine import MachineWarning
from nnbench.worker.counters import TICK_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

FOLDER = Path("/tmp")  # noqa: S108 - the machine's own, whatever TMPDIR says: runs have to meet there
LOOK_S = 0.1  #: of the shortest look at how busy CPUs are
STAY = 0.1  #: by how much less busy another CPU must be, a share, before a run moves to it
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  #: which follow no link and wait for no pipe
IDLE = slice(4, 6)  #: columns of a CPU's line in /proc/stat: idle, and idle while a disk works


class Held(NamedTuple):
    """CPUs for the cells of a block."""

    order: tuple[int, ...]  #: the best first; empty where the system pins nothing
    shared: tuple[int, ...] = ()  #: those that another nnbench holds

    def cpus(self, threads: int) -> tuple[int, ...]:
        """Return those of a cell with so many threads."""
        return tuple(sorted(self.order[:threads]))


class Look(NamedTuple):
    """What is counted so far."""

    at: float
    idle_s: dict[int, float]  #: by CPU; empty where the kernel does not say
    own_s: float  #: CPU time of all that this process has started, and that has ended


class Chooser:
    """Chooses the CPUs of one block after the other, by what it saw during the block before.

    It looks for a moment when it is made, and so has to be made before its run keeps CPUs busy.

    Parameters
    ----------
    waits
        Whether it waits until nobody else holds any of them; it holds none meanwhile, so that no two can wait
        for each other.
    """

    def __init__(self, *, waits: bool = False) -> None:
        self._waits = waits
        self._before: Sequence[int] = ()  # the last choice
        self._busy: dict[int, float] = {}
        if len(machine.usable_cpus()) > 1:
            first = look()
            time.sleep(LOOK_S)
            self._busy = busy_shares(first, look())

    @contextmanager
    def hold(self, count: int) -> Iterator[Held]:
        """Give so many CPUs, which are no other nnbench's until the context is left.

        Where too few are free, and it does not wait, some are others' all the same, and are said to be ``shared``.
        """
        usable = machine.usable_cpus()
        # The last ones, at first: the first ones serve most interrupts.
        before = self._before or usable[: -count - 1 : -1]
        with ExitStack() as locks:
            while True:
                held = choose(
                    count, usable, before, self._busy, siblings(), lambda c: _take(c, locks)
                )
                if not (self._waits and held.shared):
                    break
                locks.close()
                time.sleep(random.uniform(1, 2) * LOOK_S)  # noqa: S311 - so that two do not meet again
            self._before, start = held.order, look()
            yield held
            end = look()
        if end.at - start.at >= LOOK_S:
            self._busy = busy_shares(start, end, held.order)


def choose(
    count: int,
    usable: Sequence[int],
    before: Sequence[int],
    busy: Mapping[int, float],
    siblings: Mapping[int, Sequence[int]],
    take: Callable[[int], bool],
) -> Held:
    """Choose CPUs, those on the least busy physical cores first.

    Parameters
    ----------
    count
        How many, of those that are usable.
    usable
        CPUs that this process may run on.
    before
        Those to stay on, unless others are clearly less busy; of equal ones the first is the best.
    busy
        The share of time in which others keep each CPU busy.
    siblings
        All CPUs of each one's physical core, itself included.
    take
        Takes a CPU, and tells whether nobody else has it.
    """
    load = dict(busy)
    places = {cpu: place for place, cpu in reversed([*enumerate([*before, *reversed(usable)])])}

    def rank(cpu: int) -> tuple[float, int]:
        of_core = sum(load.get(each, 0.0) for each in siblings.get(cpu, [cpu]))
        return of_core - STAY * (cpu in before), places[cpu]

    left, chosen, refused = set(usable), list[int](), list[int]()
    while left and len(chosen) < count:
        best = min(left, key=rank)
        left.remove(best)
        (chosen if take(best) else refused).append(best)
        load[best] = 1.0  # by a worker of this nnbench, or of another
    shared = tuple(refused[: count - len(chosen)])
    return Held((*chosen, *shared), shared)


def siblings(root: Path = kernel.ROOT) -> dict[int, list[int]]:
    """Return all CPUs of each CPU's physical core; nothing where the system does not say."""
    files = (root / machine.CPUS).glob("cpu[0-9]*/topology/thread_siblings_list")
    cores = (numbers(kernel.read(file)) for file in files)
    return {cpu: core for core in cores for cpu in core}


def numbers(text: str) -> list[int]:
    """Return the numbers of a list such as ``0-2,8``."""
    ranges = (each.split("-") for each in text.split(",") if each)
    return [
        cpu for first, *last in ranges for cpu in range(int(first), int((last or [first])[0]) + 1)
    ]


def look(root: Path = kernel.ROOT) -> Look:
    """Read what is counted so far.

    ``psutil.cpu_times(percpu=True)`` has the same figures, but not the numbers of the CPUs, which
    are not those of the lines where one is switched off.
    """
    lines = (line.split() for line in kernel.read(root / "proc/stat").splitlines())
    idle_s = {
        int(line[0][3:]): sum(map(int, line[IDLE])) * TICK_S
        for line in lines
        if line[0].startswith("cpu") and line[0] != "cpu"
    }
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Look(time.monotonic(), idle_s, ended.ru_utime + ended.ru_stime)


def busy_shares(start: Look, end: Look, held: Sequence[int] = ()) -> dict[int, float]:
    """Return the share of time in which others kept each CPU busy.

    What this process has started is no other. It ran on the CPUs held; which of them had how much
    of it is not known, so each gets the mean of what is left.
    """
    seconds = end.at - start.at
    known = start.idle_s.keys() & end.idle_s.keys()
    idle = {cpu: (end.idle_s[cpu] - start.idle_s[cpu]) / seconds for cpu in known}
    found = {cpu: max(0.0, 1 - share) for cpu, share in idle.items()}
    if held and known.issuperset(held):
        own = (end.own_s - start.own_s) / seconds
        others = sum(found[cpu] for cpu in held) - own
        found |= dict.fromkeys(held, max(0.0, others / len(held)))
    return found


def taken(cpus: Sequence[int]) -> list[int]:
    """Return those that a running nnbench holds. Who looks for one just then may find it shared with this look."""
    found = []
    for cpu in cpus:
        with suppress(OSError), ExitStack() as stack:
            lock = os.open(_path(cpu), FLAGS)
            stack.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append(cpu)
    return found


def _path(cpu: int) -> Path:
    return FOLDER / f"nnbench-cpu-{cpu}.lock"


def _take(cpu: int, locks: ExitStack) -> bool:
    """Take a CPU until the locks are left; tell whether no other nnbench has it, as far as is known."""
    path = _path(cpu)
    try:
        lock = _open(path)
        locks.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        text = f"machine: cannot lock {path}, so another nnbench may take the same CPU: {error.strerror}"
        warnings.warn(text, MachineWarning, stacklevel=2)
    return True


def _open(path: Path) -> int:
    """Open a file of no content that every user can lock, whoever has made it.

    That takes no right to write. A link, or a pipe without a writer, which others may have left there
    under this name, is not followed, or waited for. Linux may refuse to open another user's file in such a
    folder with ``O_CREAT``.
    """
    with suppress(FileNotFoundError):
        return os.open(path, FLAGS)
    with suppress(FileExistsError):  # another process was faster
        made = os.open(path, FLAGS | os.O_CREAT | os.O_EXCL, 0o444)
        os.fchmod(made, 0o444)  # whatever the umask
        return made
    return os.open(path, FLAGS)
