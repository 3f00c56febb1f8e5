"""A client of dask at work: errands are tasks, which take the one resource of a worker.

Tasks are bound to that resource, never to a worker by its address or name: dask would wait for that one for ever.
Results are fetched as soon as they are there, and let go of: when a worker dies with one, dask runs its task again.
Where the scheduler is not ours, errands are published in it, or dask would forget them with their client.
"""

from __future__ import annotations

import logging
import queue
import time
import uuid
import warnings
import zlib
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from distributed import Client

from nnbench.contract.engine import Report, Session
from nnbench.contract.errors import ExecutorError, PluginWarning
from nnbench_dask.places import RESOURCE
from nnbench_dask.worker import carry_out

if TYPE_CHECKING:
    from distributed import Future

    from nnbench_dask.places import Place

CONNECT_S, CLOSE_S = 30.0, 5.0
LOOK_S = 1.0  #: between two looks at the workers
MEND_S, SOON_S = 20.0, 5.0  #: between two looks whether workers have ended; if there is none
PATIENCE_S = 300.0
RESULT_S = 60.0  #: for a result to come from its worker
GONE = "nnbench run --resume goes on when there is one again"


class DaskSession(Session):
    """Errands of one run.

    Parameters
    ----------
    place
        Where workers are; it is closed with the session.
    patience_s
        For how long there may be no worker; None is for as long as those wait that a job system is to start, or
        five minutes.
    """

    def __init__(self, place: Place, patience_s: float | None) -> None:
        self._place, self._patience_s = place, patience_s
        self._topic = f"nnbench-{uuid.uuid4().hex}"
        self._is_kept = place.cluster is None  # what is submitted outlives this process
        self._arrived: queue.SimpleQueue[Report | Future[Any]] = queue.SimpleQueue()
        self._futures: dict[str, Future[Any]] = {}
        self._published: set[str] = set()
        self._room, self._seen = 0, monotonic()
        self._came: set[str] = set()  # names of workers
        self._next_look, self._next_mending = 0.0, self._seen + SOON_S
        # It would tell of a scheduler that is gone, by and by, what is said here in a sentence.
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
        try:
            self._client = Client(place.address, timeout=CONNECT_S, set_as_default=False)
        except (OSError, TimeoutError) as error:
            place.close()
            text = (
                f"there is no scheduler of dask at {place.address}: {' '.join(str(error).split())}"
            )
            raise ExecutorError(text) from error
        self._client.subscribe_topic(self._topic, self._hear)

    def slots(self) -> int:
        """Return how many workers have the resource, as of a moment ago."""
        while not (room := self._look()):
            awaited, patience_s = self._place.awaited(), self._patience_s
            if patience_s is None:
                patience_s = PATIENCE_S
                if awaited:
                    warnings.warn(awaited, PluginWarning, stacklevel=2)
                    self._seen = monotonic()
            waited_s = monotonic() - self._seen
            if waited_s > patience_s:
                text = f"no worker of dask has come to {self._place.address} in {waited_s:.0f} s"
                raise ExecutorError("; ".join(filter(None, (text, awaited, GONE))))
            time.sleep(LOOK_S)
        return room

    def _look(self) -> int:
        now = monotonic()
        if now >= self._next_look:
            self._check()
            try:  # by itself it would tell of five workers
                workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
            except (OSError, TimeoutError) as error:
                raise self._gone() from error
            before = self._room
            self._room = int(sum(worker["resources"].get(RESOURCE, 0) for worker in workers))
            self._next_look = now + LOOK_S
            if self._room:
                self._seen = now
            elif workers:
                address = self._place.address
                text = f"no worker of dask at {address} has the resource {RESOURCE}, so none takes blocks"
                raise ExecutorError(f"{text}: dask worker {address} --resources {RESOURCE}=1")
            self._came |= {str(worker["name"]) for worker in workers}
            if self._room < before or now >= self._next_mending:
                self._place.mend(self._came)
                self._next_mending = now + (MEND_S if self._room else SOON_S)
        return self._room

    def submit(self, name: str, errand: bytes, *, outlives: bool) -> None:
        """Make a task of an errand; of one that is not published dask forgets all when this process is killed."""
        future = self._client.submit(
            carry_out,
            errand,
            self._topic,
            key=name,
            resources={RESOURCE: 1},
            pure=False,
            retries=0,
        )
        if self._is_kept and outlives:
            self._published.add(name)
            self._client.publish_dataset([errand, self._topic, future], name=name)
        self._follow(name, future)

    def found(self, beginning: str) -> dict[str, bytes]:
        """Return what is published there, and follow it."""
        errands: dict[str, bytes] = {}
        topics: set[str] = set()
        for name in self._client.list_datasets() if self._is_kept else ():
            if str(name).startswith(beginning):
                errands[name], topic, future = self._client.get_dataset(name)
                topics.add(topic)
                self._published.add(name)
                self._follow(name, future)
        for topic in topics:
            self._client.subscribe_topic(topic, self._hear)
        return errands

    def _follow(self, name: str, future: Future[Any]) -> None:
        self._futures[name] = future
        future.add_done_callback(self._arrived.put)

    def _forget(self, name: str) -> None:
        """Have the scheduler keep an errand no longer than this client does."""
        if name in self._published:
            self._published.remove(name)
            with suppress(OSError, TimeoutError):  # the scheduler is not there
                self._client.unpublish_dataset(name)

    def wait(self, seconds: float) -> list[Report]:
        """Return what comes first."""
        try:
            arrived = self._arrived.get(timeout=seconds)
        except queue.Empty:
            self._check()
            return []
        return [arrived] if isinstance(arrived, Report) else self._finish(arrived)

    def _hear(self, event: Any) -> None:
        """Take in what a worker tells; dask calls this in a thread of its own."""
        _, said = event
        lines = zlib.decompress(said["lines"])
        report = Report(errand=said["errand"], run=said["run"], lines=lines)
        self._arrived.put(report)

    def _finish(self, future: Future[Any]) -> list[Report]:
        """Return what came of a task, and let go of it."""
        name = future.key
        if name not in self._futures:  # it was cancelled here
            return []
        if future.status != "finished":
            self._check()  # without a scheduler all are cancelled
        del self._futures[name]
        try:
            run, lines = future.result(timeout=RESULT_S)
        except Exception as error:  # noqa: BLE001 - whatever dask raises
            fault = f"{type(error).__name__}: {error}"
            return [Report(errand=name, fault=fault)]
        finally:
            future.release()
            self._forget(name)
        return [Report(errand=name, run=run, lines=lines, is_over=True)]

    def _check(self) -> None:
        """Find out whether the scheduler is there."""
        if self._client.status != "running":
            raise self._gone()

    def _gone(self) -> ExecutorError:
        return ExecutorError(f"the scheduler of dask at {self._place.address} is gone; {GONE}")

    def cancel(self, name: str) -> None:
        """Have dask forget a task; its worker ends the errand then."""
        if future := self._futures.pop(name, None):
            with suppress(OSError, TimeoutError):
                future.cancel()
                self._forget(name)

    def close(self) -> None:
        """Forget all tasks, and end what was started for them."""
        for name in [*self._futures]:
            self.cancel(name)
        with suppress(OSError, TimeoutError):
            self._client.close(timeout=CLOSE_S)
        self._place.close()
