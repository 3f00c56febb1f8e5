"""What is said on the way, to whoever listens. When nobody does any more, it is lost, and nothing else.

A terminal is closed below a run, or ``nnbench run |& tee log`` gets Ctrl-C, which ends tee at once: then there is still
something to be judged and written. Standard output is another thing: a pipe without a reader ends the
command, as it does others, when all is written.
"""

from __future__ import annotations

import errno
import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GONE = {errno.EPIPE, errno.EIO}  #: the reader of a pipe, and a terminal


class Lossy(io.FileIO):
    """A stream that takes all that is written to it once nobody reads it."""

    def write(self, content: ReadableBuffer, /) -> int:
        """Write as much as is taken at once."""
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return memoryview(content).nbytes


def expect_to_leave() -> None:
    """Let nothing end because whoever reads standard error leaves, or a terminal on standard output goes."""
    if isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr is sys.__stderr__:
        sys.stderr = _lossy(sys.stderr)
    out = sys.stdout
    if isinstance(out, io.TextIOWrapper) and out is sys.__stdout__ and out.isatty():
        sys.stdout = _lossy(out)


def _lossy(stream: io.TextIOWrapper) -> io.TextIOWrapper:
    stream.flush()
    raw = Lossy(stream.fileno(), "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=True,
    )
