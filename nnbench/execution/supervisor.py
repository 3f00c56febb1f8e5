"""Starts a worker, and answers for every process that comes of it.

It runs as a file, in an isolated interpreter that imports nothing but the standard library, between nnbench and one
worker. As their subreaper it becomes the parent of processes whose own parent has ended, so that none leaves the tree
below it, however often it forks; what it has reaped, the kernel accounts to it. When the worker ends it kills what is
left, and ends as the worker did: with its status, or by its signal. When nnbench dies it does the same.

Sources: ``man 2 prctl`` (PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG), ``man 5 proc``.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_CHILD_SUBREAPER = 1, 4, 36  # linux/prctl.h
STAT_BYTES = 1 << 12
CANNOT_START = 127  #: the exit status of a shell that finds no such command
KNOWN = sys.platform == "linux"  #: whether this system has subreapers, and /proc


def supervised(command: Sequence[str]) -> list[str]:
    """Return the command that runs another one under a supervisor, or that one where there is none.

    The supervisor's process must be a child of the one that asks.
    """
    if not KNOWN:
        return [*command]
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


class Stat(NamedTuple):
    """What /proc/PID/stat says of a process."""

    state: str
    parent: int
    ended_ticks: int  #: CPU time of the children that it has waited for, and of theirs


def read_stat(pid: int) -> Stat | None:
    """Return what the system says of a process; None if there is none, or it may not be seen."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        line = os.read(file, STAT_BYTES)
    except ProcessLookupError:  # it has ended meanwhile
        return None
    finally:
        os.close(file)
    state, parent, *others = line.rpartition(b")")[2].split()  # its name may hold anything
    return Stat(state.decode(), int(parent), int(others[11]) + int(others[12]))


def numbered(folder: str) -> list[int]:
    """Return the numbers among the names in a folder of /proc; none if it is gone."""
    try:
        names = os.listdir(folder)  # noqa: PTH208 - a path for each takes five times as long
    except OSError:
        return []
    return [int(name) for name in names if name.isdigit()]


def main() -> None:
    """Start the command of the arguments, wait for its end, and end likewise."""
    parent, *command = sys.argv[1:]
    signals = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    prctl = find_prctl()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before it was asked for
        return
    worker = os.fork()
    if not worker:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        start(command)
    let_go_of_pipes()
    prctl(PR_SET_DUMPABLE, 0)  # no worker of this user may write to its memory, or read it
    status = None
    while status is None and signal.sigwait(signals) == signal.SIGCHLD:
        status = reap(worker)
    ended = kill_all(worker)
    end_like(ended if status is None else status)


def find_prctl() -> Callable[[int, int], int]:
    """Return the C library's function."""
    import ctypes

    found: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    return found


def start(command: list[str]) -> None:
    """Become the worker; its output says if that can't be."""
    try:
        os.execv(command[0], command)  # noqa: S606 - no shell is the point
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    finally:
        os._exit(CANNOT_START)


def let_go_of_pipes() -> None:
    """Leave the worker alone with its pipes: whoever reads them waits for the last writer."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def reap(worker: int) -> int | None:
    """Collect every child that has ended; return the worker's wait status if it has."""
    status = None
    with suppress(ChildProcessError):
        while True:
            pid, ended = os.waitpid(-1, os.WNOHANG)
            if pid == worker:
                status = ended
            if pid == 0:
                break
    return status


def kill_all(worker: int) -> int:
    """Kill and collect what is left; return the worker's wait status, 0 if it had been collected."""
    status, me = 0, os.getpid()
    while True:
        for pid in numbered("/proc"):
            if (stat := read_stat(pid)) and stat.parent == me:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
        try:
            pid, ended = os.waitpid(-1, 0)  # its children are ours by now
        except ChildProcessError:
            return status
        if pid == worker:
            status = ended


def end_like(status: int) -> None:
    """End this process as a wait status says that another one has."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # one core dump is enough
        with suppress(OSError):  # what cannot be caught needs no default
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {-code})
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
