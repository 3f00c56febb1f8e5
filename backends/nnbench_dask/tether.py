"""Ends a worker when its standard input does: so none is left when an SSH connection is gone, however that came about."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from nnbench_dask.worker import leave

if TYPE_CHECKING:
    from distributed import Worker


def dask_setup(_: Worker) -> None:
    """Watch the standard input in a thread of its own."""
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    with suppress(OSError):
        while os.read(0, 1 << 10):
            pass
    leave()
