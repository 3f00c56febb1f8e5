"""What runs on a worker: an errand, as a task of dask; and how a worker that nnbench starts is ended."""

from __future__ import annotations

import os
import signal
import threading
import uuid
import zlib

from distributed import Worker, get_worker
from distributed.core import Status

from nnbench.contract import engine

WANTED = {"executing", "long-running"}  #: states of a task that somebody waits for
ENDING = {Status.closing, Status.closed, Status.failed}  #: states of a worker
LEAVE_S = 25.0  #: for an errand to end with its worker; SLURM kills after 30 s

_told, _free = threading.Event(), threading.Event()
_free.set()


def dask_setup(_: Worker) -> None:
    """Prepare a worker that nnbench starts.

    Ctrl-C is left to whoever has started it: it may be in that one's group of processes. SIGTERM ends it for sure: dask's
    own way out waits for ever if the scheduler closes the worker at the same time.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if callable(signal.getsignal(signal.SIGTERM)):  # it has no nanny, which would start it again
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=leave).start())


def leave() -> None:
    """End this worker, and before it its errand."""
    _told.set()
    _free.wait(LEAVE_S)
    os._exit(0)


def carry_out(errand: bytes, topic: str) -> tuple[str, bytes]:
    """Carry out an errand, and tell at once how it goes on; return which carrying-out this was, and what came of it.

    dask cannot end a task that runs. It forgets it when it is cancelled, when its client is gone, or when another
    worker has it, and the errand is ended when that is seen. So it is when the worker ends, which waits for its tasks.
    """
    worker = get_worker()
    key, run = worker.get_current_task(), uuid.uuid4().hex

    def tell(lines: bytes) -> None:  # of which the scheduler keeps the last thousand
        worker.log_event(topic, {"errand": key, "run": run, "lines": zlib.compress(lines)})

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        is_ending = _told.is_set() or worker.status in ENDING
        return not is_ending and task is not None and task.state in WANTED

    _free.clear()
    try:
        return run, engine.carry_out(errand, tell, is_wanted)
    finally:
        _free.set()
