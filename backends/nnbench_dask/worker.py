"""What runs on a worker: an errand, as a task of dask; and what a worker that nnbench starts is told before."""

from __future__ import annotations

import signal
import uuid

from distributed import Worker, get_worker

from nnbench.contract import engine

WANTED = {"executing", "long-running"}  #: states of a task that somebody waits for


def dask_setup(_: Worker) -> None:
    """Leave Ctrl-C to whoever has started the workers: they are in its group of processes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def carry_out(errand: bytes, topic: str) -> tuple[str, bytes]:
    """Carry out an errand, and tell at once how it goes on; return which carrying-out this was, and what came of it.

    dask cannot end a task that runs. It forgets it when it is cancelled, when its client is gone, or when another
    worker has it, and the errand is ended when that is seen.
    """
    worker = get_worker()
    key, run = worker.get_current_task(), uuid.uuid4().hex

    def tell(line: bytes) -> None:
        worker.log_event(topic, {"errand": key, "run": run, "line": line})

    def is_wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state in WANTED

    return run, engine.carry_out(errand, tell, is_wanted)
