"""A process that tries one case after another: ``python -m tests.fuzz.worker FOLDER``.

It reads their names, and answers how each ended. What they print lies in FOLDER meanwhile, and where it is stuck, if it
is; so whoever ends this process can tell what there was.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import traceback
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO, cast

import msgspec

from tests.fuzz import kinds, pretending
from tests.fuzz.case import FOLDER, Outcome, problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.fuzz.case import Case

STUCK_S = 15.0  #: after which it writes down where it is
STREAMS = ("stdout", "stderr")
STACK = "stack"
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)  #: that a command may handle
READY = b"ready\n"


class Ended(msgspec.Struct, frozen=True):
    """How a case has ended by itself."""

    code: int | None  #: None: it was not tried here, since it cannot be
    problem: str | None = None
    comparable: bool = True  #: whether a process of its own should come to the same


def serve(scratch: Path) -> None:
    """Try what is asked for, until there is no more."""
    asked = os.fdopen(os.dup(0), "r")
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    pretending.begin(scratch)
    answers.write(READY)
    answers.flush()
    for line in asked:
        answers.write(msgspec.json.encode(attempt(line.strip(), scratch)) + b"\n")
        answers.flush()


def attempt(name: str, scratch: Path) -> Ended:
    """Try a case."""
    pretending.used.clear()
    folder, case = kinds.prepare(name, scratch)
    if not case.here:
        return Ended(None)
    with (scratch / STACK).open("w") as stack, printed(scratch), of_its_own(case, folder):
        faulthandler.dump_traceback_later(STUCK_S, file=stack)
        code = call(case.entry)
        faulthandler.cancel_dump_traceback_later()
    found = problem(case, Outcome(code, *read(scratch)))
    return Ended(code, found, case.there and not pretending.used)


def read(scratch: Path) -> tuple[str, str]:
    """Return what a case has printed."""
    output, errors = ((scratch / name).read_text("utf-8", "backslashreplace") for name in STREAMS)
    return output, errors


def call(entry: Callable[[], object]) -> int:
    """Return what a process would end with that calls this, and print what it would."""
    try:
        entry()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as Python does
        traceback.print_exc()
        return 1
    return 0


@contextmanager
def printed(scratch: Path) -> Iterator[None]:
    """Have both streams go to files, whoever writes to them; there is nothing to read."""
    streams = sys.stdin, sys.stdout, sys.stderr
    before = [os.dup(number) for number in (1, 2)]
    for number, name in enumerate(STREAMS, start=1):
        with (scratch / name).open("wb") as file:
            os.dup2(file.fileno(), number)
    sys.stdin, sys.stdout, sys.stderr = map(stream, range(3))
    try:
        yield
    finally:
        for each in (sys.stdout, sys.stderr):
            each.close()
        sys.stdin, sys.stdout, sys.stderr = streams
        for number, descriptor in enumerate(before, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def stream(descriptor: int) -> TextIO:
    """Return a stream as Python makes one when it starts."""
    errors = "backslashreplace" if descriptor == 2 else "strict"
    mode = "w" if descriptor else "r"
    made = os.fdopen(descriptor, mode, encoding="utf-8", errors=errors, closefd=False)
    return cast("TextIO", made)


@contextmanager
def of_its_own(case: Case, folder: Path) -> Iterator[None]:
    """Give a case the folder, the variables, the command line and the warnings of a process of its own."""
    variables, words, path, modules = dict(os.environ), sys.argv, [*sys.path], {*sys.modules}
    here, handlers = Path.cwd(), {number: signal.getsignal(number) for number in SIGNALS}
    given = {key: text.replace(FOLDER, str(folder)) for key, text in case.variables.items()}
    os.environ.update(given)
    os.chdir(folder)
    sys.argv = ["nnbench", *case.words]
    sys.path[:0] = filter(None, given.get("PYTHONPATH", "").split(os.pathsep))
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.chdir(here)
        os.environ.clear()
        os.environ.update(variables)
        sys.argv, sys.path[:] = words, path
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for name in {*sys.modules} - modules:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(f"{folder}{os.sep}"):
                del sys.modules[name]


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
