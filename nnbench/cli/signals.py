"""Signals that ask nnbench to end: it does as after Ctrl-C, so that what was finished is kept and written down."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING

from nnbench.contract.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

CODES = {signal.SIGTERM: ExitCode.TERMINATED, signal.SIGHUP: ExitCode.HUNG_UP}
IMPORTING = "<frozen importlib._bootstrap>"  #: where an import is on the stack
AGAIN_S = 0.05


class Terminated(BaseException):
    """After such a signal: stop as for Ctrl-C. A SystemExit would be taken for a plugin's.

    Parameters
    ----------
    code
        What nnbench ends with then.
    """

    def __init__(self, code: ExitCode) -> None:
        super().__init__(code)
        self.code = code


@contextmanager
def handled() -> Iterator[None]:
    """Within this context raise :class:`Terminated` when the first of these signals comes, and KeyboardInterrupt for Ctrl-C.

    Others say the same once more, as ``timeout`` sends its own twice, and a closed terminal's may follow: they must not
    cut short what is done about the first; Ctrl-C may. One that was ignored before, as by nohup, stays so. All wait for the
    end of an import: half a library can be imported no more, and the tables may need it. Afterwards
    nothing is left to be kept: then they end this process at once, but for those that only say again why it ends.
    """
    is_ending = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal is_ending
        if _imports(frame):
            later = Timer(AGAIN_S, os.kill, (os.getpid(), number))
            later.daemon = True
            later.start()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        elif not is_ending:
            is_ending = True
            raise Terminated(CODES[signal.Signals(number)])

    every = [signal.SIGINT, *CODES]
    numbers = [each for each in every if signal.getsignal(each) is not signal.SIG_IGN]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            is_said = is_ending and number != signal.SIGINT
            signal.signal(number, signal.SIG_IGN if is_said else signal.SIG_DFL)


def _imports(frame: FrameType | None) -> bool:
    """Tell whether a frame belongs to an import."""
    while frame and frame.f_code.co_filename != IMPORTING:
        frame = frame.f_back
    return frame is not None
