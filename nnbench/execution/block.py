"""An errand on this machine, for a run that was started on another: ``python -m nnbench.execution.block``.

It reads an :class:`~nnbench.records.errands.Errand`, a line of JSON, from standard input, and says in lines of JSON what comes
of it. It loads no plugin's code, as the process that started the run loads none. Everything happens in its main thread:
whatever it starts is to end with it, and Linux takes the end of the thread that has started something for the end of its parent.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import warnings
from contextlib import closing
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import msgspec

from nnbench import pipes, prctl
from nnbench.contract.errors import BackendUnavailableError, NnbenchError, PluginWarning
from nnbench.execution import listing
from nnbench.execution.cpus import Chooser
from nnbench.execution.executor import LocalExecutor, Stopped
from nnbench.proof import kept
from nnbench.records.errands import Ended, Errand, MachineSeen, States
from nnbench.records.events import CellEvent, EpochFinished

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import BinaryIO

    from nnbench.records.cells import CellResult
    from nnbench.records.events import Happening
    from nnbench.records.runs import Block, Machine


LONGEST = 4000  #: characters of a message


def stop(*_: object) -> NoReturn:
    """Handle SIGTERM, once: the machine is wanted for something else, or its time is over."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def main() -> None:
    """Carry out the errand, and say how that ended, unless nnbench itself fails."""
    prctl.die_with_parent(int(sys.argv[1]))
    prctl.hide_memory()
    with pipes.own_output() as answers:
        try:
            signal.signal(signal.SIGTERM, stop)
            errand = msgspec.json.decode(sys.stdin.buffer.readline(), type=Errand)
            with closing(carry_out(errand, partial(say, answers))) as said:
                for each in said:
                    say(answers, each)
            ended = Ended("done")
        except Stopped:
            ended = Ended("interrupted", "it was ended by SIGTERM")
        except (NnbenchError, MemoryError, OSError) as error:  # OSError: a limit of the machine
            ended = Ended("refused", (str(error) or type(error).__name__)[:LONGEST])
        say(answers, ended)


def say(answers: BinaryIO, said: object) -> None:
    """Write a line."""
    answers.write(msgspec.json.encode(said) + b"\n")
    answers.flush()


def carry_out(
    errand: Errand, bring: Callable[[States], object]
) -> Generator[MachineSeen | Happening]:
    """Look at the machine, wait for CPUs that no other block has, and run the block on them, if there is one.

    The states of a cell, if they are to be kept, are brought before it is yielded.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PluginWarning)  # whoever started the run was told of those
        with listing.relied_on():
            here = LocalExecutor()
            found = here.machines(errand.entries, errand.threads, errand.libraries)
            if errand.roofline:
                found = here.with_roofs(found, errand.entries, errand.roofs_of or [errand.threads])
            [seen] = found.values()
            yield MachineSeen(socket.gethostname(), seen)
            if errand.block is None:
                return
            block = errand.block
            refuse_unavailable(block, seen)
            threads = max(entry.threads or block.threads for entry in block.entries)
            with Chooser(waits=True).hold(threads) as held:
                if held.order:  # the judges, too: on other CPUs there may be other blocks
                    os.sched_setaffinity(0, held.order)
                here = LocalExecutor(held, Bringer(bring).keep)
                with closing(here.run([block])) as happenings:
                    for happening in happenings:
                        yield in_brief(happening)


class Bringer:
    """Brings the states of a block, a bounded line after the other, and in all no more than an engine can hold."""

    def __init__(self, bring: Callable[[States], object]) -> None:
        self._bring, self._left = bring, kept.MOST_BROUGHT

    def keep(self, _: CellResult, states: kept.States) -> None:
        """Bring the states of a cell.

        Raises
        ------
        NnbenchError
            If they are too many.
        """
        for piece in states.pieces:
            self._left -= len(piece)
            if self._left < 0:
                most = kept.MOST_BROUGHT >> 20
                text = f"the states of this block have more than {most} MiB"
                raise NnbenchError(f"{text}: --keep-states needs --executor local for it")
            self._bring(States(piece))


def refuse_unavailable(block: Block, here: Machine) -> None:
    """Leave a block to other machines if one of its backends cannot run on this one."""
    for entry in block.entries:
        if reason := here.unavailable.get(entry.label):
            text = f"{entry.label} is unavailable on {socket.gethostname()}: {reason}"
            raise BackendUnavailableError(text)


def in_brief(happening: Happening) -> Happening:
    """Return what happened without what nobody needs before the block is judged: losses of all steps."""
    match happening:
        case CellEvent(spec=spec, event=EpochFinished(epoch=epoch)):
            return CellEvent(spec, EpochFinished(replace(epoch, losses=[])))
        case _:
            return happening


if __name__ == "__main__":
    main()
