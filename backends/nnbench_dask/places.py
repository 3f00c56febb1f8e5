"""Where workers are: at a scheduler that runs, or at one of ours, with workers that are started for it."""

from __future__ import annotations

import itertools
import logging
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nnbench.contract.errors import ExecutorError, PluginWarning

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

RESOURCE = "nnbench"  #: a worker has one, and a block takes it: so no worker has two blocks
PRELOAD = "nnbench_dask.worker"
#: Of each worker that is started for a run. Its nanny would start it again where nobody asks for it any more; near a limit of
#: memory it would take no task, though it only waits for its block; without nnbench it fails when it loads this.
WORKER = (
    *("--resources", f"{RESOURCE}=1", "--no-nanny", "--no-dashboard"),
    *("--memory-limit", "0", "--preload", PRELOAD),
)
TRIES = 3  #: to start a worker that does not come


class Place:
    """Where workers are.

    Parameters
    ----------
    address
        Of the scheduler.
    cluster
        What was started for the run, if something was.
    """

    def __init__(self, address: str, cluster: Any = None) -> None:
        self.address, self.cluster = address, cluster

    def mend(self, came: Collection[str]) -> None:
        """Start workers in the place of those that have ended.

        Parameters
        ----------
        came
            The names of all workers that are there, or were.

        Raises
        ------
        ExecutorError
            If none is there, and none can be started.
        """

    def awaited(self) -> str:
        """Return what it is that workers wait for, where somebody else decides when they start."""
        return ""

    def close(self) -> None:
        """End what was started."""
        if self.cluster is not None:
            with suppress(TimeoutError, OSError):
                self.cluster.close()


class Starter(ABC):
    """Starts workers, each under a name, by something that ends with its worker: a job, or an SSH connection."""

    @abstractmethod
    def begin(self, seat: str, name: str) -> None:
        """Start a worker.

        Raises
        ------
        ExecutorError
            If that is refused, with the words of who refuses.
        """

    @abstractmethod
    def ended(self) -> dict[str, str]:
        """Forget what has ended, and return why, each by its name."""

    def awaited(self) -> str:
        """Return what those wait for that have not started yet."""
        return ""

    @abstractmethod
    def close(self) -> None:
        """End all that was started."""


class Crew(Place):
    """Workers that are to be there for the whole run, at a scheduler in this process.

    Whatever ends is started anew; it is not tried for ever if no worker comes of it.

    Parameters
    ----------
    cluster
        The scheduler.
    starter
        Makes what starts workers, for the address that they come to.
    seats
        What each worker is started for: a machine, or a job of many.
    """

    def __init__(
        self, cluster: Any, starter: Callable[[str], Starter], seats: Sequence[str]
    ) -> None:
        super().__init__(cluster.scheduler_address, cluster)
        self._starter = starter(cluster.scheduler.contact_address or self.address)
        self._free = list(seats)
        self._names = itertools.count()
        self._begun: dict[str, str] = {}  # seats by the names of workers
        self._failures: Counter[str] = Counter()  # of a seat, since a worker was last in it
        try:
            self.mend([])
        except BaseException:
            self.close()
            raise

    def mend(self, came: Collection[str]) -> None:
        """Start workers in the place of those that have ended."""
        problems = self._collect(came)
        if self._begun or came or not problems:
            problems += self._fill()
        if problems and not self._begun and not (came and self._free):
            raise ExecutorError("; ".join(dict.fromkeys(problems)))
        for problem in problems:
            warnings.warn(problem, PluginWarning, stacklevel=2)

    def _collect(self, came: Collection[str]) -> list[str]:
        """Free the seats of what has ended, and return why where no worker has come of it."""
        problems = []
        for name, why in self._starter.ended().items():
            seat = self._begun.pop(name)
            if name in came:
                self._failures[seat] = 0
                self._free.append(seat)
            else:
                self._fail(seat)
                problems.append(why)
        return problems

    def _fill(self) -> list[str]:
        """Start workers on free seats; return what was refused, and why."""
        free, self._free, problems = self._free, [], []
        for seat in free:
            name = f"{seat}-{next(self._names)}"
            try:
                self._starter.begin(seat, name)
            except ExecutorError as error:
                self._fail(seat)
                problems.append(str(error))
            else:
                self._begun[name] = seat
        return problems

    def _fail(self, seat: str) -> None:
        """Free a seat that was tried in vain, unless that was once too often."""
        self._failures[seat] += 1
        if self._failures[seat] < TRIES:
            self._free.append(seat)

    def awaited(self) -> str:
        """Return what workers wait for that have not started yet."""
        return self._starter.awaited()

    def close(self) -> None:
        """End the workers and the scheduler."""
        try:
            self._starter.close()
        finally:
            super().close()


def scheduler(**options: Any) -> Any:
    """Return a scheduler in this process, as a cluster that has no workers of its own.

    Parameters
    ----------
    options
        Of :class:`distributed.Scheduler`.
    """
    from distributed import Scheduler, SpecCluster

    quiet = {"dashboard": False, "dashboard_address": ":0"}
    return SpecCluster(
        scheduler={"cls": Scheduler, "options": {**quiet, **options}},
        silence_logs=logging.CRITICAL,
    )


def last_words(log: str) -> str:
    """Return the last line of a worker's log that tells why it ended, if one does."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    telling = [line for line in lines if " - INFO - " not in line] or lines
    return telling[-1] if telling else ""
