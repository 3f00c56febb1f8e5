"""What a plugin brings that runs blocks on other machines: an engine.

nnbench cuts a run into blocks, counts the attempts at each, and writes down what comes of them. An engine
knows nothing of all that. It takes errands, which are bytes, has each carried out by :func:`carry_out` on
one of its workers, one at a time on each, and hands over the bytes that come back, or its own words for why none do.

What an engine gives is checked: a report that is none, and any exception but an NnbenchError end the run with one line and exit
code 4; what is finished is kept, and ``--resume`` goes on.

An engine that the user names is loaded in nnbench's own process, as no other code of a plugin is: it is
what runs things, and has to be trusted; the run says so.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from nnbench.contract.backend import Option
from nnbench.contract.bounds import Distribution, Line, Name, Parameter
from nnbench.records.errands import Ended, Spoken, States
from nnbench.records.events import CellEvent, CellFinished, CellStarted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from nnbench.contract.backend import OptionValue

BLOCK = "nnbench.execution.block"  #: the module that is run for an errand, with the number of its parent
LOOK_S = 0.5  #: between two looks whether an errand is still wanted
TELL_S = (
    2.0  #: between two messages of an errand: a cell may have something to tell every millisecond
)
GRACE_S = 20.0  #: for a process that was told to end
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an engine says of an errand."""

    errand: str  #: its name
    #: Which carrying-out of it: an engine may start an errand again by itself. Empty of a fault.
    run: str = ""
    lines: bytes = b""  #: what was said
    is_over: bool = False  #: whether these lines are what ``carry_out`` returned
    fault: str = ""  #: why there will be no more lines, in the engine's words


class Session(ABC):
    """An engine at work: its machines are there, or will be."""

    @abstractmethod
    def slots(self) -> int:
        """Return how many errands can be carried out at once, as of now, and one at least.

        Raises
        ------
        ExecutorError
            If there is no worker, after a while, or none that takes errands.
        """

    def found(self, beginning: str) -> dict[str, bytes]:
        """Return the errands with such names that a session of before has submitted, and that have outlived it.

        They wait, are carried out, or have been; what comes of them is reported as of any other. An engine whose errands
        end with their session has none.
        """
        del beginning
        return {}

    @abstractmethod
    def submit(self, name: str, errand: bytes, *, outlives: bool) -> None:
        """Have an errand carried out on some worker that has no other; no name comes twice.

        One that ``outlives`` this process is gone on with when that is killed, for another session to come to find, if the
        engine can do that. Of others nothing may be left then.
        """

    @abstractmethod
    def wait(self, seconds: float) -> Iterable[Report]:
        """Return what has come since, or what comes first within so many seconds.

        Raises
        ------
        ExecutorError
            If the engine is gone, so that nothing more will come.
        """

    @abstractmethod
    def cancel(self, name: str) -> None:
        """Have an errand ended, or not begun. Nothing has to be reported of it any more."""

    @abstractmethod
    def close(self) -> None:
        """Cancel all errands, and end whatever the engine has started; a second time it does nothing."""


class Engine(ABC):
    """Knows how to reach its machines. Making one costs nothing: commands list it."""

    name: Name  #: that users type after ``--executor``
    summary: Line
    options: Mapping[Parameter, Option] = {}  #: set as ``name[key=value]``
    requires: tuple[Distribution, ...] = ()  #: that it cannot do without, as pip names them

    @abstractmethod
    def open(self, **options: OptionValue) -> Session:
        """Reach the machines, or ask for some, with those options that a user has given.

        Raises
        ------
        NnbenchError
            If they cannot be reached, or the options do not go together.
        """


def carry_out(
    errand: bytes,
    tell: Callable[[bytes], object],
    is_wanted: Callable[[], bool] = lambda: True,
) -> bytes:
    """Carry out an errand on this machine, in a process of its own; an engine has its workers call this.

    The thread that calls it is busy until that process has ended. The process, with all that it has started,
    ends when this one does.

    Parameters
    ----------
    errand
        What was submitted.
    tell
        Called with what says how it goes on: the first line at once, and then lines that came within two seconds.
    is_wanted
        Whether it still is; asked now and then.

    Returns
    -------
    bytes
        The lines that say what came of it; the last one is ``Ended``, however the process has.
    """
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", BLOCK, str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,  # Ctrl-C is for who submits
    )
    kept: list[bytes] = []
    news: list[bytes] = []
    ended, next_s = False, 0.0
    try:
        for lines in _lines(process, errand, is_wanted):
            for line in lines:
                said = msgspec.json.decode(line, type=Spoken)
                if not isinstance(said, States | CellFinished | Ended):
                    news.append(line)
                if not isinstance(said, CellStarted | CellEvent):
                    kept.append(line)
                ended = isinstance(said, Ended)
            if news and monotonic() >= next_s:
                tell(b"\n".join(news))
                news, next_s = [], monotonic() + TELL_S
        if news:
            tell(b"\n".join(news))
        how = _how_it_ended(process.wait())
    except msgspec.MsgspecError as error:
        how, ended = f"said what is no line of a block: {str(error)[:200]}", False
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
    if not ended:
        kept.append(msgspec.json.encode(Ended("lost", f"the process of its block {how}")))
    return b"\n".join(kept)


def _lines(
    process: subprocess.Popen[bytes], errand: bytes, is_wanted: Callable[[], bool]
) -> Iterator[list[bytes]]:
    """Give a process its errand, and yield the lines that it says, or none for a while; end it if that is not wanted any more."""
    assert process.stdin  # noqa: S101 - it was asked for
    assert process.stdout  # noqa: S101 - likewise
    try:
        process.stdin.write(errand + b"\n")
        process.stdin.close()
    except BrokenPipeError:
        pass  # how it ended is found where it should have answered
    pending, deadline = bytearray(), None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            lines: list[bytes] = []
            if selector.select(LOOK_S):
                chunk = os.read(process.stdout.fileno(), CHUNK)
                if not chunk:
                    return
                *whole, pending = (pending + chunk).split(b"\n")
                lines = [*map(bytes, whole)]
            yield lines
            if deadline is None and not is_wanted():
                process.terminate()
                deadline = monotonic() + GRACE_S
            if deadline is not None and monotonic() > deadline:
                process.kill()


def _how_it_ended(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
