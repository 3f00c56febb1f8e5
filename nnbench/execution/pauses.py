"""What becomes of time in which nnbench is stopped, or its whole machine.

Ctrl-Z does not fall into a timed call: nnbench stops once that is over, a second or so later. A worker has a session of
its own, and computes on while its parent is stopped. Then its clock could be held against no other, and whoever had
stopped its parent might be the worker itself. So where SIGSTOP, which does not wait, falls into a call, the cell is
``invalid``. No time-out counts what nnbench has not seen pass.

Sources: ``man 7 signal``, ``man 3 termios``, "Orphaned Process Groups" in the manual of the GNU C library: what no shell would
let go on again is not stopped by Ctrl-Z, and that is for the kernel to know.
"""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class _State:
    """Whether a call is timed, and whether Ctrl-Z came meanwhile."""

    is_timed = False
    is_due = False
    terminal: int | None = None  #: the descriptor of one whose cursor is hidden


_STATE = _State()
SHOW, HIDE = b"\x1b[?25h", b"\x1b[?25l"  #: the cursor (DECTCEM)
AWAY_S = 1.0  #: whoever waits looks several times as often


def away_s(before: float, now: float) -> float:
    """Return for how many of the seconds between two looks this process was not there to look."""
    return now - before if now - before > AWAY_S else 0.0


@contextmanager
def heeded() -> Iterator[None]:
    """Within this context have Ctrl-Z wait for the end of a timed call, unless somebody else sees to it."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTSTP, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        end_call()


@contextmanager
def without_cursor(terminal: int) -> Iterator[None]:
    """Within this context a terminal's cursor is hidden, which a shell needs while nnbench is stopped.

    Parameters
    ----------
    terminal
        Its descriptor. Who hides the cursor there is another.
    """
    _STATE.terminal = terminal
    try:
        yield
    finally:
        _STATE.terminal = None
        _tell(terminal, SHOW)


def _tell(terminal: int | None, sequence: bytes) -> None:
    """Write to a terminal past all buffers, which a signal may have come in the midst of."""
    if terminal is not None:
        with suppress(OSError):  # it may be closed
            os.write(terminal, sequence)


def begin_call() -> None:
    """Note that a call is timed from now on."""
    _STATE.is_timed = True


def end_call() -> None:
    """Note that none is any more, and stop if that was asked for."""
    _STATE.is_timed = False
    if _STATE.is_due:
        _STATE.is_due = False
        os.kill(os.getpid(), signal.SIGTSTP)


def _stop(number: int, _: object) -> None:
    if _STATE.is_timed:
        _STATE.is_due = True
        return
    signal.signal(number, signal.SIG_DFL)
    _tell(_STATE.terminal, SHOW)
    signal.raise_signal(number)  # it goes on here
    _tell(_STATE.terminal, HIDE)
    signal.signal(number, _stop)
