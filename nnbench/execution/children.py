"""Processes that run third-party code for the parent, which loads none itself.

The parent asks in lines of JSON, waits for each answer, and no longer than it says. What the code prints
goes to standard error, up to so many bytes; what it warns of is a warning of the parent.
"""

from __future__ import annotations

import faulthandler
import os
import selectors
import subprocess
import sys
import warnings
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from nnbench import pipes
from nnbench.catalog.flaws import shorten, uninterrupted
from nnbench.contract.errors import NnbenchError, PluginWarning
from nnbench.execution import pauses, process
from nnbench.execution.supervisor import KNOWN, supervised
from nnbench.execution.tree import Tree
from nnbench.texts import encode, recordable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

T = TypeVar("T")
POLL_S = 0.1
CHUNK = 1 << 20
LARGEST = 1 << 26  #: of an answer, in bytes
MOST_PRINTED = 1 << 20  #: bytes: far more than anybody reads, and less than fills a disk
MOST_WARNINGS = 100  #: of one answer
GRACE_S = 2.0  #: for a child that has nothing more to do
ERRORS: dict[str, type[NnbenchError]] = {
    each.__name__: each for each in NnbenchError.__subclasses__()
}


class ChildError(Exception):
    """A child has died, hung, or answered nonsense; the text says which."""


class Warned(msgspec.Struct, frozen=True):
    """A warning of a child."""

    text: str
    is_of_plugin: bool


class Reply(msgspec.Struct, frozen=True):
    """What a child makes of a question."""

    value: msgspec.Raw = msgspec.Raw(b"null")
    error: str | None = None
    kind: str = ""  #: name of the error's class, in nnbench.contract.errors
    warnings: list[Warned] = []


class Child:
    """A running child. The context ends it, with all that it has started, however that has hidden."""

    def __init__(self, module: str, pass_fds: Collection[int] = ()) -> None:
        self.process = subprocess.Popen(
            supervised(process.command(None, module)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            pass_fds=pass_fds,
            start_new_session=True,
        )
        assert self.process.stdin  # noqa: S101 - it was asked for
        assert self.process.stdout  # noqa: S101 - likewise
        assert self.process.stderr  # noqa: S101 - likewise
        self.questions, self.answers = self.process.stdin, self.process.stdout
        self.printed = self.process.stderr
        self._printed = 0  # bytes
        self._tree = Tree(self.process.pid)
        self._left = memoryview(b"")  # of the questions, not written yet
        self._got = bytearray()  # of an answer
        self._owed = 0  # answers
        for pipe in (self.questions, self.answers, self.printed):
            os.set_blocking(pipe.fileno(), False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()

    def ask(self, question: object, kind: type[T], timeout_s: float) -> T:
        """Return the answer to a question; it is :meth:`send` and :meth:`receive`."""
        self.send(question)
        return self.receive(kind, timeout_s)

    def send(self, question: object) -> None:
        """Send a question, or as much of it as the pipe takes at once."""
        self._left = memoryview(bytes(self._left) + encode(question) + b"\n")
        self._owed += 1
        self._write()

    def receive(self, kind: type[T], timeout_s: float) -> T:
        """Return the answer.

        Raises
        ------
        ChildError
            If there is none within the time, or it is no answer.
        NnbenchError
            What the code of the child has raised.
        """
        deadline = monotonic() + timeout_s
        while self._owed > 1:  # whoever waited for that was interrupted
            self._read(deadline)
        line = self._read(deadline)
        try:
            reply = msgspec.json.decode(line, type=Reply)
            for each in reply.warnings:
                category = PluginWarning if each.is_of_plugin else UserWarning
                warnings.warn(each.text, category, stacklevel=3)
            if reply.error is None:
                return msgspec.json.decode(reply.value, type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ChildError(f"its process answered nonsense: {error}") from error
        raise ERRORS.get(reply.kind, NnbenchError)(reply.error)

    def _read(self, deadline: float) -> bytes:
        """Return the next answer."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.answers, selectors.EVENT_READ)
            selector.register(self.printed, selectors.EVENT_READ)
            if self._left:
                selector.register(self.questions, selectors.EVENT_WRITE)
            looked = monotonic()
            while (end := self._got.find(b"\n")) < 0:
                ended = self.process.poll() is not None
                ready = selector.select(0 if ended else POLL_S)
                is_silent = all(key.fileobj is self.printed for key, _ in ready)
                for key, _ in ready:
                    if key.fileobj is self.questions:
                        self._write()
                        if not self._left:
                            selector.unregister(self.questions)
                    elif key.fileobj is self.printed:
                        if not self._pass_on():
                            selector.unregister(self.printed)
                    elif chunk := os.read(key.fd, CHUNK):
                        self._got += chunk
                    else:
                        raise ChildError(self._how_it_ended())
                if ended and is_silent:  # something that it has started may hold the pipe open
                    raise ChildError(self._how_it_ended())
                before, looked = looked, monotonic()
                deadline += pauses.away_s(before, looked)
                if looked > deadline:
                    raise ChildError("its process did not answer in time")
                if len(self._got) > LARGEST:
                    raise ChildError("its process does not end its answer")
        line = bytes(self._got[:end])
        del self._got[: end + 1]
        self._owed -= 1
        self._pass_on()  # what was printed before the answer
        return line

    def _pass_on(self) -> bool:
        """Pass on what it has printed, as far as there is a use in that; tell whether more may come."""
        try:
            chunk = os.read(self.printed.fileno(), CHUNK)
        except BlockingIOError:
            return True
        shown = memoryview(chunk[: max(0, MOST_PRINTED - self._printed)])
        is_cut = self._printed <= MOST_PRINTED < self._printed + len(chunk)
        self._printed += len(chunk)
        with suppress(OSError):  # nobody reads standard error
            while shown and sys.__stderr__:
                shown = shown[os.write(sys.__stderr__.fileno(), shown) :]
            if is_cut and sys.__stderr__:
                os.write(sys.__stderr__.fileno(), b"\n")  # where it is cut no line ends
        if is_cut:
            text = f"plugins have printed more than {MOST_PRINTED:,} bytes: the rest is left out"
            warnings.warn(text, PluginWarning, stacklevel=3)
        return bool(chunk)

    def _write(self) -> None:
        try:
            self._left = self._left[os.write(self.questions.fileno(), self._left) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:  # how it ended is found where it should have answered
            self._left = self._left[:0]

    def _how_it_ended(self) -> str:
        try:
            status = self.process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            return "its process has closed the pipe"
        if status < 0:
            return f"its process was killed by {process.name_signal(-status)}"
        return f"its process ended with status {status}"

    def stop(self) -> None:
        """Stop it with all that it has started, until it is to go on."""
        self._tree.stop()

    def go_on(self) -> None:
        """Let it run again."""
        self._tree.go_on()

    def close(self) -> None:
        """Let it end by itself for a moment, then kill it. Of one that was killed nothing is left."""
        if self.answers.closed:
            return
        self.questions.close()
        deadline = monotonic() + GRACE_S
        with selectors.DefaultSelector() as selector:
            for pipe in (self.answers, self.printed):
                selector.register(pipe, selectors.EVENT_READ)
            while (left := deadline - monotonic()) > 0 and self.answers in selector.get_map():
                for key, _ in selector.select(left):
                    is_answer = key.fileobj is self.answers
                    goes_on = os.read(key.fd, CHUNK) if is_answer else self._pass_on()
                    if not goes_on:  # it has closed its pipe, as it does at its end
                        selector.unregister(key.fileobj)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, deadline - monotonic()))
        self.kill()

    def kill(self) -> None:
        """Kill it, and every process that comes of it."""
        if self.process.poll() is None or not KNOWN:  # a supervisor leaves nothing behind
            self._tree.kill()
        self.process.wait()
        if not self.printed.closed:
            self._pass_on()  # its last words
        for pipe in (self.questions, self.answers, self.printed):
            pipe.close()


def serve(kind: type[T], answer: Callable[[T], object]) -> None:
    """Be a child: answer questions of a type until there are no more.

    Standard input and output are the parent's alone: whoever prints meanwhile does so to standard error,
    and whoever reads finds nothing.
    """
    faulthandler.enable()
    with (
        os.fdopen(os.dup(0), "rb") as questions,
        pipes.own_output() as answers,
        uninterrupted(),  # nobody presses Ctrl-C here
    ):
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for line in questions:
            reply = _reply(answer, line, kind)
            sys.stdout.flush()
            answers.write(msgspec.json.encode(reply) + b"\n")
            answers.flush()


def _reply(answer: Callable[[T], object], line: bytes, kind: type[T]) -> Reply:
    value, error, name = msgspec.Raw(b"null"), None, ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", PluginWarning)  # what becomes of it, the parent decides
        try:
            value = msgspec.Raw(encode(answer(msgspec.json.decode(line, type=kind))))
        except NnbenchError as problem:
            error, name = str(problem), type(problem).__name__
        except BaseException as problem:  # noqa: BLE001 - a plugin may raise anything
            error = shorten(problem)
    said = [
        Warned(recordable(str(w.message)), issubclass(w.category, PluginWarning)) for w in caught
    ]
    if (more := len(said) - MOST_WARNINGS) > 0:
        said[MOST_WARNINGS:] = [Warned(f"plugins have warned {more:,} more times", True)]
    return Reply(value, error and recordable(error), name, said)
