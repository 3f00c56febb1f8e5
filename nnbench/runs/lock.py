"""A lock on a results folder: one run at a time writes to it."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnbench.contract.errors import ResultsError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOCK = ".lock"


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep other runs out of a folder, which is made if need be.

    The system gives the lock back when this process ends, even by ``kill -9``. The empty file
    stays: whoever removed it could remove a lock that another run has just taken.

    Raises
    ------
    ResultsError
        If another run holds the lock, or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("ab")
    except OSError as error:
        raise ResultsError(f"cannot write to {folder}: {error.strerror}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResultsError(f"{folder} is in use by another run") from error
        except OSError as error:
            raise ResultsError(f"cannot lock {folder}: {error.strerror}") from error
        yield
