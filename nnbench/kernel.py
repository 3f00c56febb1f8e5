"""What the kernel tells in files: of the control groups that this process is in, which may grant it less than the machine has.

One group lies in another, and the tightest counts. Where a container sees no more than its own groups, those
of the host are not there, and the container's own is the uppermost.

Sources: the kernel's Documentation/admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst and scheduler/sched-bwc.rst.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path("/")
HIERARCHIES = "sys/fs/cgroup"
#: The limit of memory and what is used of it, in versions 2 and 1.
MEMORY = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))


class Memory(NamedTuple):
    """What a group grants, in bytes."""

    limit: int
    used: int
    cached: int  #: of that, which can be given back


def read(path: Path) -> str:
    """Return what a file of the kernel's says; nothing if it is not there."""
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return ""


def quotas(root: Path = ROOT) -> Iterator[float]:
    """Yield how many CPUs' time each group grants that has a limit; ``root`` stands for ``/``."""
    for group in _above("cpu", root):
        limit = read(group / "cpu.max").split() or [
            read(group / f"cpu.cfs_{each}_us") for each in ("quota", "period")
        ]
        if all(each.isdigit() for each in limit):  # neither "max", nor -1, nor nothing
            granted_us, of_us = map(int, limit)
            yield granted_us / of_us


def memories(root: Path = ROOT) -> Iterator[Memory]:
    """Yield what each group grants that limits memory."""
    for group in _above("memory", root):
        for names in MEMORY:
            limit, used = (read(group / name) for name in names)
            if limit.isdigit() and used.isdigit():
                yield Memory(int(limit), int(used), _cached(group))


def memory_bytes(root: Path = ROOT) -> int:
    """Return how much memory this process can have at the most, whatever else is used."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(each.limit for each in memories(root))])


def _above(controller: str, root: Path) -> Iterator[Path]:
    """Yield the group that this process is in, and those above it, as far as a controller of theirs limits it."""
    for line in read(root / "proc/self/cgroup").splitlines():
        _, controllers, name = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        # Of version 2 there is one hierarchy, of no name; of version 1 a folder has one or all names of those that share it.
        for folder in dict.fromkeys([controllers, controller if controllers else ""]):
            top = root / HIERARCHIES / folder
            own = top / name.strip("/")
            yield from (each for each in (own, *own.parents) if top in (each, *each.parents))


def _cached(group: Path) -> int:
    lines = map(str.split, read(group / "memory.stat").splitlines())
    return sum(int(line[1]) for line in lines if line[0] in {"active_file", "inactive_file"})
