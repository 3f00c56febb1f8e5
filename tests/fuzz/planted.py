"""What tries cases that have faults, to see that they are found: ``python -m tests.fuzz.planted FOLDER``."""

from __future__ import annotations

import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from tests.fuzz import kinds, pretending, worker
from tests.fuzz.case import Case, Expected

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random


def fail() -> NoReturn:
    """End as a mistake in the code does."""
    raise ZeroDivisionError


def hang() -> NoReturn:
    """Never end."""
    while True:
        time.sleep(1)


def take_memory() -> NoReturn:
    """Take more and more of it."""
    taken = []
    while True:
        taken.append(b"x" * (1 << 24))


def end_well() -> NoReturn:
    """End as if the input were fine."""
    sys.exit(0)


def give_up() -> NoReturn:
    """End as if nnbench itself had failed, and a line said so."""
    sys.exit("nnbench: error: something went wrong")


def obey() -> None:
    """Print what a terminal obeys."""
    sys.stdout.write("\x1b[31mred\n")
    sys.exit(4)


def say_nothing() -> NoReturn:
    """Refuse, and do not say why."""
    sys.exit(2)


#: What each is found by.
FAULTS: dict[Callable[[], object], str] = {
    fail: "it ended with a traceback",
    end_well: "it ended with 0, though its input is bad",
    give_up: "it ended with 1, which is no answer to any input",
    obey: "a terminal would obey ['\\x1b']",
    say_nothing: "it was refused, and the last line is no error",
    hang: "still running after 1.5 s",
    take_memory: "it took more than 200 MiB of memory",
    os.abort: "killed by SIGABRT",
}
NAMES = {f"{fault.__name__}:0:0": found for fault, found in FAULTS.items()}


def make(fault: Callable[[], object], _: Random, __: Path) -> Case:
    """Make a case of one."""
    return Case(words=[], about="planted", expected=Expected.BAD, entry=fault, there=False)


def begin(folder: Path) -> None:
    """Prepare nothing, which none of them needs."""
    del folder


if __name__ == "__main__":
    kinds.KINDS.update({fault.__name__: (partial(make, fault), 0.0) for fault in FAULTS})
    pretending.begin = begin
    worker.serve(Path(sys.argv[1]))
