"""The process of one cell: ``python -m nnbench.worker FD``; with ``--protocol``, its number.

It reads a :class:`CellSpec` as JSON from standard input and writes events, one JSON line each,
to the file descriptor FD, so that a backend may print what it likes. The parent has set the
thread counts in the environment; nothing numerical is imported before the worker is pinned.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import traceback
from typing import TYPE_CHECKING

import msgspec

from nnbench import prctl
from nnbench.contract.errors import BackendUnavailableError
from nnbench.records import PROTOCOL, CellSpec, Event, Failed, Status

if TYPE_CHECKING:
    from typing import BinaryIO

MESSAGE_LENGTH = 300
OUT_OF_MEMORY = {"MemoryError", "OutOfMemoryError"}  #: the host's, and that of torch and CuPy


def main() -> None:
    """Run the cell that standard input describes."""
    if sys.argv[1:] == ["--protocol"]:
        sys.stdout.write(f"{PROTOCOL}\n")
        return
    faulthandler.enable()
    prctl.die_with_parent()
    spec = msgspec.json.decode(sys.stdin.buffer.read(), type=CellSpec)
    if spec.cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, spec.cpus)
    with os.fdopen(int(sys.argv[1]), "wb") as pipe:
        work(spec, pipe)


def work(spec: CellSpec, pipe: BinaryIO) -> None:
    """Run a cell and turn whatever it raises into its last event."""

    def send(event: Event) -> None:
        pipe.write(msgspec.json.encode(event) + b"\n")
        pipe.flush()

    from nnbench.worker import training

    try:
        training.run_cell(spec, send)
    except BackendUnavailableError as error:
        send(Failed(Status.SKIPPED, shorten(str(error))))
    except Exception as error:  # noqa: BLE001 - a backend may raise anything
        text = shorten("".join(traceback.format_exception_only(error)))
        names = {each.__name__ for each in type(error).__mro__}
        send(Failed(Status.OOM if names & OUT_OF_MEMORY else Status.CRASHED, text))
        traceback.print_exc()  # last, because the backend may have closed standard error


def shorten(text: str) -> str:
    """Make one line of a message, of bearable length."""
    return " ".join(text.split())[:MESSAGE_LENGTH]


if __name__ == "__main__":
    main()
