"""What the worker and the processes below it have in memory, and have had at most.

The kernel keeps the peak of each process. Once the library is imported it is asked to begin anew with the worker's, so
that there are two of them: of the whole life, and of all that came after the import.

Source: ``man 5 proc`` (VmRSS, VmHWM, clear_refs).
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import NamedTuple

from nnbench.worker import counters

ROOT = Path("/proc")
PEAK_ANEW = "5"  #: what clear_refs takes to let the peak of a process be what it has now


class Resident(NamedTuple):
    """Bytes of a process that are in memory."""

    now: int
    peak: int  #: 0 is unknown
    shared: int  #: of those now: memory that others have, too


class Mark(NamedTuple):
    """What there was when the library had been imported."""

    now: int  #: of all processes
    peak: int  #: of this one until then
    is_anew: bool  #: whether the kernel counts its peak anew since


class Peaks(NamedTuple):
    """Peaks of all processes together: the sums of their own, as far as they live."""

    whole: int  #: since they were started
    training: int | None  #: since the mark, above what there was then; None is unknown


def mark(root: Path = ROOT) -> Mark | None:
    """Note what there is now; None where the system does not say."""
    own = resident(root / "self")
    if own is None or not own.peak:
        return None
    now = own.now + sum(each.now for each in _below(root))
    return Mark(now, own.peak, _begin_anew(root / "self"))


def peaks(since: Mark | None, root: Path = ROOT) -> Peaks:
    """Return the peaks.

    That of a child of this process is its own alone: Linux hands it the peak of the parent it was forked from through
    getrusage, so ``/proc`` is asked where it exists.
    """
    own = resident(root / "self")
    if own is None or not own.peak:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return Peaks(peak if sys.platform == "darwin" else peak * 1024, None)
    below = sum(each.peak for each in _below(root))
    if since is None:
        return Peaks(own.peak + below, None)
    whole = Peaks(max(since.peak, own.peak) + below, None)
    # Whoever still has the peak of before has had less since, and nobody knows how much.
    if not since.is_anew and own.peak <= since.peak:
        return whole
    return whole._replace(training=max(0, own.peak + below - since.now))


def _begin_anew(process: Path) -> bool:
    """Have the kernel count the peak of a process from now on; tell whether it does."""
    try:
        (process / "clear_refs").write_text(PEAK_ANEW)
    except OSError:  # it was built without, or another system stands in for it
        return False
    return True


def _below(root: Path) -> list[Resident]:
    """Return what the processes below this one have, of those that live."""
    found = (resident(root / str(pid)) for pid in counters.descendants(root))
    return [each for each in found if each]


def resident(process: Path) -> Resident | None:
    """Return what a process has, by its folder; None of one that has ended, or where the system does not say."""
    try:
        lines = (process / "status").read_text().splitlines()
    except OSError:
        return None
    said = {name: text.split() for name, _, text in (line.partition(":") for line in lines)}
    if "VmRSS" not in said:  # it has ended
        return None
    names = ("VmRSS", "VmHWM", "RssShmem")
    return Resident(*(1024 * int(said.get(name, ["0"])[0]) for name in names))
