"""Standard input, output and error: open, able to write every text, and named where they fail."""

from __future__ import annotations

import os
import select
import sys
from contextlib import contextmanager
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING

from nnbench.contract.errors import ExitCode
from nnbench.files import STANDARD_OUTPUT, refusal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from _typeshed import ReadableBuffer


class Patient(FileIO):
    """A stream that may be another program's as well, and not wait because of that: then this one waits."""

    def write(self, content: ReadableBuffer, /) -> int:
        """Write some of the content, at least a byte."""
        written: int | None
        while (written := super().write(content)) is None:
            select.select([], [self], [])
        return written


class Output(Patient):
    """Standard output, of which an error says that it is one."""

    def write(self, content: ReadableBuffer, /) -> int:
        """Write some of the content."""
        try:
            return super().write(content)
        except OSError as error:
            error.filename = STANDARD_OUTPUT
            raise


class Lossy(Patient):
    """Standard error, or a terminal: what cannot be written there is lost, and nothing else on account of it.

    A terminal is closed below a run, or ``nnbench run |& tee log`` gets Ctrl-C, which ends tee at once: then there is
    still something to be judged and written.
    """

    def write(self, content: ReadableBuffer, /) -> int:
        """Write some of the content."""
        try:
            return super().write(content)
        except OSError:
            return memoryview(content).nbytes


def prepare() -> None:
    """Make the three fit for use, before anything else is opened.

    To close one is to say that nobody wants it. It goes to nobody then; left closed, it would be the next file
    that is opened, and what is printed would stand in a file of results.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdout = fit(sys.stdout, sys.__stdout__, Lossy if os.isatty(1) else Output, 1)
    sys.stderr = fit(sys.stderr, sys.__stderr__, Lossy, 2)


def fit(stream: TextIO | None, own: TextIO | None, kind: type[FileIO], descriptor: int) -> TextIO:
    """Return a stream of a kind that writes what its encoding lacks as escapes; one of others remains theirs.

    Parameters
    ----------
    stream
        The one that is in use; None where it was closed.
    own
        The one that Python has made.
    kind
        What is to write to the file.
    descriptor
        Of the file.
    """
    if stream and stream is not own:  # of a test, or of a program that calls this one
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        return stream
    if stream:
        stream.flush()
    return TextIOWrapper(
        BufferedWriter(kind(descriptor, "w", closefd=False)),
        encoding=stream.encoding if stream else "utf-8",
        errors="backslashreplace",
        newline="\n",
        line_buffering=stream is None or bool(stream.line_buffering),
    )


@contextmanager
def flushed() -> Iterator[None]:
    """Write what is left for standard output when the context is left.

    If it is a pipe that nobody reads any more, nnbench ends without a word, with the status of SIGPIPE. The
    signal itself stays ignored: a worker that dies closes a pipe too.

    Raises
    ------
    ResultsError
        If the system takes no more.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # what is in the buffer has the same fate
    except BrokenPipeError:
        give_up()
        sys.exit(ExitCode.PIPE_CLOSED)
    except OSError as error:
        if error.filename != STANDARD_OUTPUT:
            raise
        give_up()
        raise refusal(error, STANDARD_OUTPUT) from error


def give_up() -> None:
    """Let what is left for standard output go nowhere: Python writes it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
