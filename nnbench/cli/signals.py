"""Signals that ask nnbench to end: it does as after Ctrl-C, so that what was finished is kept and written down."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnbench.contract.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

CODES = {signal.SIGTERM: ExitCode.TERMINATED, signal.SIGHUP: ExitCode.HUNG_UP}


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
    """Within this context raise :class:`Terminated` when the first of these signals comes.

    Others say the same once more, as ``timeout`` sends its own twice, and a closed terminal's may follow: they must not
    cut short what is done about the first. One that was ignored before, as by nohup, stays so. Afterwards
    nothing is left to be kept: then they, and Ctrl-C, end this process at once.
    """
    is_ending = False

    def terminate(number: int, _: object) -> None:
        nonlocal is_ending
        if not is_ending:
            is_ending = True
            raise Terminated(CODES[signal.Signals(number)])

    numbers = [each for each in CODES if signal.getsignal(each) is not signal.SIG_IGN]
    for number in numbers:
        signal.signal(number, terminate)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
