"""Starts a worker, and answers for every process that comes of it.

It runs as a file, in an isolated interpreter that imports a little of the standard library, between nnbench and one
worker. As their subreaper it becomes the parent of processes whose own parent has ended, so that none leaves the tree
below it, however often it forks; what it has reaped, the kernel accounts to it. When the worker ends it kills what is
left, and ends as the worker did: with its status, or by its signal. When nnbench dies, or sends SIGTERM, it does the same.
Signals of a terminal are left to the worker, which gets them as well.

If asked it gives the worker temporary folders of its own: what is in them can be read, and what is written goes into
memory and ends with it, so that no other worker finds it. So does what System V and POSIX queues share.

Sources: ``man 2 prctl`` (PR_SET_CHILD_SUBREAPER, PR_SET_PDEATHSIG), ``man 5 proc``, ``man 7 namespaces``, ``man 7 user_namespaces``,
the kernel's Documentation/filesystems/overlayfs.rst.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from contextlib import suppress
from functools import cache

TYPE_CHECKING = False  # type checkers know it; to import typing takes as long as all the rest
if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER = (
    1,
    4,
    24,
    36,
)  # linux/prctl.h
CAP_SYS_PTRACE, CAP_SYS_ADMIN = 19, 21  # linux/capability.h
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWUSER = 0x0002_0000, 0x0800_0000, 0x1000_0000  # linux/sched.h
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 1 << 1, 1 << 2, 1 << 14, 1 << 18  # linux/mount.h
TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - not to be used, but hidden
MEMORY = "/dev/shm"  # noqa: S108 - likewise
OF_TERMINALS = {signal.SIGINT, signal.SIGQUIT, signal.SIGHUP}
SHARED = "NNBENCH_SHARED_TMP"  #: leaves workers the temporary folders of all, if it is set
STAT_BYTES = 1 << 12
CANNOT_START = 127  #: the exit status of a shell that finds no such command
KNOWN = sys.platform == "linux"  #: whether this system has subreapers, and /proc


def supervised(
    command: Sequence[str], *, private: bool = False, hidden: Sequence[Path] = ()
) -> list[str]:
    """Return the command that runs another one under a supervisor, or that one where there is none.

    The supervisor's process must be a child of the one that asks.

    Parameters
    ----------
    command
        What to run.
    private
        Whether it shall have temporary folders of its own; only where ``grants_privacy`` says so.
    hidden
        Folders in which such a command shall see nothing: what it writes there is written nowhere.
    """
    if not KNOWN:
        return [*command]
    mode = ["shared"]
    if private:
        mode = ["private", str(len(hidden)), *(str(each.resolve()) for each in hidden)]
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *mode, *command]


@cache
def grants_privacy() -> bool:
    """Tell whether this system lets workers have temporary folders of their own, and the user does.

    Containers often do not. Where root runs nnbench it needs nothing but mounts, elsewhere a user namespace.
    """
    import subprocess

    if not KNOWN or os.environ.get(SHARED):
        return False
    nothing = [sys.executable, "-I", "-S", "-c", ""]
    tried = subprocess.run(supervised(nothing, private=True), capture_output=True, check=False)
    return tried.returncode == 0


class Stat:
    """What /proc/PID/stat says of a process."""

    __slots__ = ("ended_ticks", "parent", "state")

    def __init__(self, state: str, parent: int, ended_ticks: int) -> None:
        self.state, self.parent = state, parent
        #: CPU time of the children that it has waited for, and of theirs
        self.ended_ticks = ended_ticks


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
    parent, mode, *command = sys.argv[1:]
    signals, me = {signal.SIGCHLD, signal.SIGTERM}, os.getpid()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals | OF_TERMINALS)
    if mode == "private":
        count, *command = command
        hide_temporary_folders(command[: int(count)])
        command = command[int(count) :]
    with suppress(OSError):  # a sandbox may not have it: then a daemon may escape
        ask("prctl", PR_SET_CHILD_SUBREAPER, 1)
    ask("prctl", PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it died before it was asked for
        return
    worker = os.fork()
    if not worker:
        ask("prctl", PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if os.getppid() == me:  # else somebody has killed its supervisor before that was asked for
            start(command)
        os._exit(CANNOT_START)
    let_go_of_pipes()
    ask("prctl", PR_SET_DUMPABLE, 0)  # no worker of this user may write to its memory, or read it
    status = None
    while status is None and signal.sigwait(signals) == signal.SIGCHLD:
        status = reap(worker)
    ended = kill_all(worker)
    end_like(ended if status is None else status)


def ask(name: str, *arguments: object) -> None:
    """Call a function of the C library's; an error is an exception."""
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)


def hide_temporary_folders(hidden: Sequence[str] = ()) -> None:
    """Lay a layer in memory over each temporary folder, for this process and its children.

    They go on seeing what is in there: environments, or somebody's home. With user namespaces the user stays
    who it is, and so do the owners of files; other users' files belong to nobody. Of folders that are ``hidden``
    they see nothing at all.
    """
    from pathlib import Path

    user, group, here = os.getuid(), os.getgid(), Path.cwd()
    if user == 0:
        ask("unshare", CLONE_NEWNS | CLONE_NEWIPC)
    else:
        ask("unshare", CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWIPC)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    mount("none", "/", "", MS_REC | MS_PRIVATE)
    mount("tmpfs", MEMORY, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
    for number, below in enumerate(temporary_folders()):
        above, work = Path(MEMORY, f"above-{number}"), Path(MEMORY, f"work-{number}")
        work.mkdir()
        above.mkdir()
        above.chmod(below.stat().st_mode & 0o7777)
        layers = f"lowerdir={below},upperdir={above},workdir={work}"
        more = "" if user == 0 else ",userxattr"
        mount("overlay", str(below), "overlay", MS_NOSUID | MS_NODEV, layers + more)
    for folder in hidden:
        mount("tmpfs", folder, "tmpfs", MS_NOSUID | MS_NODEV, "mode=700")
    mount("tmpfs", MEMORY, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")  # hides the layers
    os.chdir(here)  # which may lie in one: until now this process is below the layer
    if user == 0:  # or the worker could take the layers off, and read nnbench's memory
        ask("prctl", PR_CAPBSET_DROP, CAP_SYS_ADMIN)
        ask("prctl", PR_CAPBSET_DROP, CAP_SYS_PTRACE)


def temporary_folders() -> list[Path]:
    """Return the folders to hide.

    Raises
    ------
    OSError
        If another file system lies within one: it would be hidden, too.
    """
    from pathlib import Path

    here = {Path(name).resolve() for name in TEMPORARY if Path(name).is_dir()}
    lines = os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).splitlines()
    mounted = [line.split()[4] for line in lines]
    for name in mounted:
        if here & set(Path(name).parents):
            raise OSError(f"{name} is another file system")
    return sorted(here)


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """Mount a file system."""
    ask("mount", source.encode(), target.encode(), kind.encode(), flags, options.encode())


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
