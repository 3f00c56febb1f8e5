"""Workers on machines that are reached by SSH, each by a connection of its own.

The connection is all that a worker has: it reaches the scheduler, and is reached, through ports that ssh forwards on both sides' loopback
interfaces. So nothing else listens, no firewall has to be opened, and the worker ends with the connection, however that ends. It
is OpenSSH's own program that connects, as the user has configured it.

Sources: ``man ssh``, ``man ssh_config``.
"""

from __future__ import annotations

import random
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

from nnbench.contract.errors import NnbenchError
from nnbench_dask.places import WORKER, Crew, Starter, last_words, scheduler

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = "127.0.0.1"
PORTS = range(20000, 32768)  #: below those that Linux gives out by itself
END_S = 10.0  #: for a connection to end after its worker was told to
OPTIONS = {
    "BatchMode": "yes",  # nobody is asked for a password
    "ConnectTimeout": "20",
    "ServerAliveInterval": "15",
    "ExitOnForwardFailure": "yes",
    "ControlMaster": "no",  # what others started through it would end with this run
    "RemoteCommand": "none",
    "RequestTTY": "no",
    "ForwardX11": "no",
    "LogLevel": "ERROR",  # and no greeting
}


def start(machines: Sequence[str], python: str) -> Crew:
    """Start a scheduler here, and a worker on each machine.

    Raises
    ------
    NnbenchError
        If there is no ``ssh`` here.
    """
    if not shutil.which("ssh"):
        raise NnbenchError("dask[ssh] needs OpenSSH's client, and there is no ssh here")
    found = python or shlex.quote(sys.executable)
    cluster = scheduler(host=HERE, dashboard_address=f"{HERE}:0")
    return Crew(cluster, lambda address: Connections(address, found), machines)


@dataclass
class _Connection:
    machine: str
    process: subprocess.Popen[bytes]
    log: IO[bytes]


class Connections(Starter):
    """Connections of workers.

    Parameters
    ----------
    address
        Of the scheduler, on this machine's loopback interface.
    python
        On the other machines, as their shells understand it.
    """

    def __init__(self, address: str, python: str) -> None:
        self._port, self._python = address.rpartition(":")[2], python
        self._open: dict[str, _Connection] = {}

    def begin(self, seat: str, name: str) -> None:
        """Connect to a machine, and start a worker there."""
        back, there = random.sample(PORTS, 2)
        with socket.socket() as free:
            free.bind((HERE, 0))
            near = free.getsockname()[1]
        command = [
            *("-m", "distributed.cli.dask_worker", f"tcp://{HERE}:{back}", "--name", name),
            *("--nthreads", "1", "--death-timeout", "60", *WORKER),
            *("--listen-address", f"tcp://{HERE}:{there}"),
            *("--contact-address", f"tcp://{HERE}:{near}"),
            *("--preload", "nnbench_dask.tether"),
        ]
        forwarded = (
            *("-R", f"{HERE}:{back}:{HERE}:{self._port}"),
            *("-L", f"{HERE}:{near}:{HERE}:{there}"),
        )
        options = [f"-o{key}={value}" for key, value in OPTIONS.items()]
        log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as the connection
        process = subprocess.Popen(
            [
                "ssh",
                *options,
                *forwarded,
                "--",
                seat,
                f"exec env PYTHONSAFEPATH=1 {self._python} {shlex.join(command)}",
            ],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for whoever started this
        )
        self._open[name] = _Connection(seat, process, log)

    def ended(self) -> dict[str, str]:
        """Forget the connections that have ended, and return why."""
        over = {name: each for name, each in self._open.items() if each.process.poll() is not None}
        for name in over:
            del self._open[name]
        return {name: _end(each) for name, each in over.items()}

    def close(self) -> None:
        """End all workers, and then their connections."""
        for each in self._open.values():
            if each.process.stdin:
                each.process.stdin.close()
        for each in self._open.values():
            with suppress(subprocess.TimeoutExpired):
                each.process.wait(END_S)
            _end(each)
        self._open.clear()


def _end(connection: _Connection) -> str:
    """End a connection, and return its last words."""
    connection.process.kill()
    connection.process.wait()
    if connection.process.stdin:
        connection.process.stdin.close()
    with connection.log as log:
        log.seek(0)
        words = last_words(log.read().decode(errors="replace"))
    return f"no worker on {connection.machine}: {words or 'the connection has ended'}"
