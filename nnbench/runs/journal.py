"""A file of JSON lines that survives what may happen while it is written.

A kill in the middle of a write leaves a torn last line: it is left out with a warning, since it
never was a line. A full disk leaves nothing of the line that did not fit.
"""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import FileIO
    from pathlib import Path


class TornLineWarning(UserWarning):
    """The last line of a file was not written to its end."""


def append(path: Path, line: bytes) -> None:
    """Add a line; it is on disk when this returns, and nothing of it is when this raises.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with path.open("ab", buffering=0) as file:  # a buffer would be written on closing, once more
        size = file.tell()
        try:
            _write(file, line + b"\n")
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(size)
            raise


def _write(file: FileIO, content: bytes) -> None:
    rest = memoryview(content)
    while rest:  # a disk that is nearly full takes a part
        rest = rest[file.write(rest) :]


def read(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file that may be missing, without a torn last one.

    They are read one by one, because the file of a long run has hundreds of megabytes.
    """
    if not path.exists():
        return
    with path.open("rb") as file:
        last = next(file, b"")
        for line in file:
            yield last.removesuffix(b"\n")
            last = line
    if last.endswith(b"\n") and _is_json(last):
        yield last.removesuffix(b"\n")
    elif last:
        text = f"{path}: the last line is torn, as by a kill, and left out"
        warnings.warn(text, TornLineWarning, stacklevel=2)


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True


def mend(path: Path) -> None:
    """Cut off a torn last line, so that the next one is not glued to it."""
    if path.exists():
        os.truncate(path, sum(len(line) + 1 for line in read(path)))
