"""The process of one cell: ``python -m nnbench.worker READ WRITE``; with ``--protocol``, its number.

It reads commands from one file descriptor and answers to the other (:mod:`nnbench.pipes`), so that
a backend may print what it likes. The first command is a :class:`Job`. The parent has set the thread
counts in the environment; nothing numerical is imported before the worker is pinned.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import traceback
from contextlib import nullcontext
from typing import TYPE_CHECKING

from nnbench import pipes
from nnbench.contract.errors import BackendUnavailableError
from nnbench.records import PROTOCOL
from nnbench.records.cells import Status
from nnbench.records.events import Failed
from nnbench.records.worker import Close, Closed, Command, Job

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from typing import BinaryIO

    from nnbench.worker.training import Trainer

    Around = Callable[[Trainer], AbstractContextManager[object]]

MESSAGE_LENGTH = 300
OUT_OF_MEMORY = {"MemoryError", "OutOfMemoryError"}  #: the host's, and that of torch and CuPy


def main(around: Around = nullcontext) -> None:
    """Do what the commands say, up to the last one; what is ``around`` them is entered once all is set up."""
    if sys.argv[1:] == ["--protocol"]:
        sys.stdout.write(f"{PROTOCOL}\n")
        return
    faulthandler.enable()
    read_end, write_end = map(int, sys.argv[1:])
    with os.fdopen(read_end, "rb") as commands, os.fdopen(write_end, "wb") as answers:
        try:
            job = pipes.receive(commands, Job)
        except EOFError:
            sys.exit("the parent has died before it said what to train")
        if job.cpus and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(0, job.cpus)
        work(job, commands, answers, around)


def work(job: Job, commands: BinaryIO, answers: BinaryIO, around: Around = nullcontext) -> None:
    """Obey commands, and turn whatever that raises into the last answer."""
    from nnbench.worker import memory, training

    def send(answer: object) -> None:
        pipes.send(answers, answer)

    try:
        trainer = training.prepare(job, send)
        with around(trainer):
            while not isinstance(command := following(commands), Close):
                trainer.obey(command, send)
        peaks = memory.peaks(trainer.imported)
        send(Closed(peaks.whole, peaks.training))
    except BackendUnavailableError as error:
        send(Failed(Status.SKIPPED, shorten(str(error))))
    except Exception as error:  # noqa: BLE001 - a backend may raise anything
        text = shorten("".join(traceback.format_exception_only(error)))
        names = {each.__name__ for each in type(error).__mro__}
        send(Failed(Status.OOM if names & OUT_OF_MEMORY else Status.CRASHED, text))
        traceback.print_exc()  # last, because the backend may have closed standard error


def following(commands: BinaryIO) -> Command:
    """Wait for the next command; whoever has nobody left to obey ends."""
    try:
        command: Command = pipes.receive(commands, Command)
    except EOFError:
        sys.exit("the parent has died")
    return command


def shorten(text: str) -> str:
    """Make one line of a message, of bearable length."""
    return " ".join(text.split())[:MESSAGE_LENGTH]


if __name__ == "__main__":
    main()
