"""What Linux does to a process of nnbench that asks for it, with prctl; elsewhere nothing.

The numbers are those of linux/prctl.h.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4


def die_with_parent(parent: int) -> None:
    """Have this process killed when its parent dies, however it dies; if it has died by now, end.

    Parameters
    ----------
    parent
        Its number, as it has told us. Whoever asked for another one than 1 would be wrong about a subreaper,
        which takes what is left, and in a container, where the parent may be 1 itself.
    """
    ask(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


def hide_memory() -> None:
    """Keep other processes of the same user from reading this one: through /proc, or as a debugger.

    It leaves no core dump either; faulthandler still prints its traceback. Children start without
    this, since ``exec`` takes it back. It does not stop root.
    """
    ask(PR_SET_DUMPABLE, 0)


def ask(*arguments: int) -> None:
    """Call prctl, where there is one."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(*arguments)
