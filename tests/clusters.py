"""A cluster of dask on this machine whose processes can be killed one by one."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

from tests.plugins.helpers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

BLOCK, CELL = "nnbench.execution.block", "nnbench.worker"
RESOURCE = "--resources", "nnbench=1"


class Cluster:
    """A scheduler and workers, each a process.

    Parameters
    ----------
    env
        Environment variables of all of them.
    folder
        For what they write.
    port
        Of the scheduler; 0 is one that is free.
    """

    def __init__(self, env: Mapping[str, str], folder: Path, port: int = 0) -> None:
        self.env, self.folder = env, folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", port))
            self.port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{self.port}"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.start_scheduler()

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of dask's."""
        command = [sys.executable, "-m", "dask", *arguments, "--no-dashboard"]
        with (self.folder / "dask.log").open("ab") as log:
            return subprocess.Popen(command, env=dict(self.env), stdout=log, stderr=log)

    def start_scheduler(self) -> None:
        """Start it, always at the same address, and wait until it answers."""
        self.scheduler = self.start("scheduler", "--host", "127.0.0.1", "--port", str(self.port))
        wait_until(self.is_open)

    def is_open(self) -> bool:
        """Tell whether the scheduler answers."""
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0

    def start_worker(self, *more: str, nanny: bool = False) -> None:
        """Start a worker, below a process of dask's that starts it anew when it ends, if that is wanted."""
        own = ["--nthreads", "1", "--local-directory", str(self.folder)]
        alone = [] if nanny else ["--no-nanny"]
        self.workers.append(self.start("worker", self.address, *own, *alone, *more))

    def busy(self) -> list[subprocess.Popen[bytes]]:
        """Return the workers whose block trains a cell."""
        return [each for each in self.workers if trains(each.pid)]

    def close(self) -> None:
        """End all of them at once."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def below(pid: int) -> list[psutil.Process]:
    """Return all processes that come of one; it may be ending."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def running(module: str, processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those of some processes that run a module; they may be ending."""
    found = []
    for process in processes:
        with suppress(psutil.Error):
            if module in process.cmdline():
                found.append(process)
    return found


def trains(pid: int) -> bool:
    """Tell whether a cell has begun below a process."""
    processes = below(pid)
    return bool(running(BLOCK, processes) and running(CELL, processes))
