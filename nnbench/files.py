"""Files: written whole or not at all, line by line, or wherever a user says; read if they are files.

A kill in the middle of a write leaves a torn last line: it is left out with a warning, since it
never was a line. A full disk leaves nothing of the line, or of the file, that did not fit. What is no regular
file, such as a pipe that nobody writes to, or has more than could be meant, is not read. What the system refuses is
said in one way, by :func:`refusal`, whatever command asked for it.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import warnings
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from nnbench.contract.errors import ExitCode, ResultsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import IO, BinaryIO

STDOUT = Path("-")  #: what users type for it
STANDARD_OUTPUT = "standard output"  #: what it is called where it fails
READ_AT_ONCE = 1 << 20  #: bytes; a line of a cell has thousands
LARGEST = 1 << 26  #: bytes of a file that is read whole, unless a reader says otherwise
LONGEST_LINE = 1 << 28  #: bytes: a training of ten million steps has half of that
MOST_LINKS = 40  #: to follow, as Linux does
#: Below which nothing can be written: the home of who has none.
NOWHERE = Path(os.devnull, "nnbench")
ELSEWHERE = "choose another place"
#: What else can be done where not the place is wrong, but the machine at its limit.
LIMITS = {
    errno.ENOSPC: "make room",
    errno.EDQUOT: "make room",
    errno.EFBIG: "raise the limit of a file's size",
    errno.EIO: "look after the disk",
}


class TornLineWarning(UserWarning):
    """The last line of a file was not written to its end."""


def open_regular(path: Path, *, buffering: int = -1) -> IO[bytes]:
    """Open a file to read it, if it is a regular one: others may never end, or never begin.

    Raises
    ------
    OSError
        If it is none, or cannot be opened.
    """
    # Without O_NONBLOCK, to open a pipe would be to wait for whoever writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        raise OSError(errno.EINVAL, "it is no regular file", str(path))
    return os.fdopen(descriptor, "rb", buffering)


def read_regular(path: Path, most: int = LARGEST) -> bytes:
    """Return what a regular file holds.

    Raises
    ------
    OSError
        As :func:`open_regular`, and if it has more than ``most`` bytes.
    """
    with open_regular(path) as file:
        # What is read counts, too: a file may grow, and the kernel's own all say that they are empty.
        if (size := os.fstat(file.fileno()).st_size) <= most:
            content = file.read(most + 1) or b""  # None is of one that has nothing as yet
            size = len(content)
        if size > most:
            raise OSError(errno.EFBIG, f"it has more than {most:,} bytes", str(path))
        return content


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written; an older file of that name is still there.
    """
    with writing(path) as file:
        file.write(content)


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Give a file to write to that stands at ``path`` once the context is left, whole or not at all.

    Raises
    ------
    OSError
        If it cannot be written; an older file of that name is still there.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        error.filename = str(path)  # a full disk has no name
        raise


def append_line(path: Path, line: bytes) -> None:
    """Add a line; it is on disk when this returns, and nothing of it is when this raises.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    append(path, line + b"\n")


def append(path: Path, content: bytes) -> None:
    """Add to a file, as :func:`append_line` does.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    with path.open("ab", buffering=0) as file:  # a buffer would be written on closing, once more
        size = file.tell()
        try:
            rest = memoryview(content)
            while rest:  # a disk that is nearly full takes a part
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError:
            with suppress(OSError):
                file.truncate(size)
            raise


def read_lines(path: Path, *, warn: bool = True, mend: bool = False) -> Iterator[bytes]:
    """Yield the lines of a file that may be missing, without a torn last one.

    They are read one by one, because the file of a long run has hundreds of megabytes.

    Parameters
    ----------
    path
        The file.
    warn
        Of a torn line; whoever reads it again need not be warned again.
    mend
        Cut it off in the end, so that the next line is not glued to it.

    Raises
    ------
    OSError
        If it cannot be read, or cut off; if it is no regular file, or a line is longer than LONGEST_LINE.
    """
    if not path.exists():
        return
    whole = 0
    with open_regular(path, buffering=READ_AT_ONCE) as file:
        last = b""
        for line in iter(partial(file.readline, LONGEST_LINE + 1), b""):
            if len(line) > LONGEST_LINE:
                raise OSError(
                    errno.EFBIG, f"a line has more than {LONGEST_LINE:,} bytes", str(path)
                )
            if last:
                yield last.removesuffix(b"\n")
            whole += len(last)
            last = line
    if last.endswith(b"\n") and _is_json(last):
        yield last.removesuffix(b"\n")
    elif last:
        if warn:
            text = f"{path}: the last line is torn, as by a kill, and left out"
            warnings.warn(text, TornLineWarning, stacklevel=2)
        if mend:
            os.truncate(path, whole)


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    except RecursionError:  # which no kill has made
        return True
    return True


def check_output(path: Path) -> None:
    """Refuse a name that cannot be written to, before the work for it; its folder is made.

    Raises
    ------
    ResultsError
        As :func:`write_output`.
    """
    if path == STDOUT:
        return
    with named(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if not is_stream(path):
            _try(Path(os.path.realpath(path)).parent)


def check_folder(folder: Path, instead: str = ELSEWHERE) -> None:
    """Refuse a folder that cannot be written to, or made, before the work for it; nothing is left there.

    Raises
    ------
    ResultsError
        If so; ``instead`` is what else can be done.
    """
    with named(folder, instead=instead):
        there = folder.absolute()
        while not there.exists():
            there = there.parent
        _try(there)


def _try(folder: Path) -> None:
    """Have the system say why a folder cannot be written to; a file without a name leaves nothing."""
    from tempfile import TemporaryFile

    with TemporaryFile(dir=folder):
        pass


def write_output(path: Path, content: bytes, *, add: bool = False) -> None:
    """Write what a user asked for to the file that the user named.

    A regular file is written whole or not at all, in a folder that is made if need be; a link to
    one stays a link. ``-`` is standard output. A device, a pipe and an open file of this process,
    as ``/dev/stdout``, are written to as they are, never replaced.

    Parameters
    ----------
    path, content
        Where, and what.
    add
        To what the file holds.

    Raises
    ------
    ResultsError
        If it cannot be written.
    BrokenPipeError
        If it is a pipe whose reader has left.
    """
    is_stdout = path == STDOUT or _is_stdout(path)
    with named(STANDARD_OUTPUT if is_stdout else path):
        if is_stdout:
            sys.stdout.flush()
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        if is_stream(path):
            with path.open("ab" if add else "wb") as file:
                file.write(content)
        elif add:
            append(path, content)
        else:
            write_whole(Path(os.path.realpath(path)), content)


def is_stream(path: Path) -> bool:
    """Tell whether a name is not that of a regular file: a device, a pipe, an open file, ``-``."""
    with suppress(OSError):  # nothing can be there, as where a name is too long
        return path == STDOUT or (path.exists() and not path.is_file()) or _is_open_file(path)
    return False


def _is_open_file(path: Path) -> bool:
    """Tell whether a name leads to an open file of a process, as /dev/stdout and /dev/fd/3 do."""
    for _ in range(MOST_LINKS):
        if not path.is_symlink():
            break
        if path.parent.resolve().parts[1:2] == ("proc",):
            return True
        path = path.parent / path.readlink()
    return False


def _is_stdout(path: Path) -> bool:
    """Tell whether a name leads to what standard output is, whose place in the file it has."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # there is no such file yet, or standard output is none
        return False


@contextmanager
def named(place: object, doing: str = "write to", *, instead: str = ELSEWHERE) -> Iterator[None]:
    """Say of an error which file could not be written; a reader who leaves is not one of them.

    Raises
    ------
    ResultsError
        As :func:`refusal` has it.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise refusal(error, place, doing, instead=instead) from error


def refusal(
    error: OSError,
    place: object,
    doing: str = "write to",
    *,
    instead: str = ELSEWHERE,
    more: str = "",
) -> ResultsError:
    """Return what to raise of an error of the system's: it says what could not be done, why, and what to do.

    Parameters
    ----------
    error
        The system's.
    place
        What was to be written.
    doing
        What was to be done to it.
    instead
        What else the user can do.
    more
        What there is to say besides.

    Returns
    -------
    ResultsError
        Its exit code is 1 where the machine is at a limit, and 2 where only the place is wrong.
    """
    why, limit = reason(error), LIMITS.get(error.errno or 0)
    if isinstance(place, Path) and place.is_relative_to(NOWHERE):
        place, why = "the user's own folder", "there is none, as HOME is not set"
    way_out = f"{limit}, or {instead}" if limit else instead
    parts = f"cannot {doing} {place}: {why}", way_out, more
    problem = ResultsError("; ".join(filter(None, parts)))
    problem.exit_code = ExitCode.INTERNAL if limit else ExitCode.USAGE
    return problem


def reason(error: OSError) -> str:
    """Return what the system says of an error, without its number and the names of files."""
    return error.strerror or str(error) or type(error).__name__


def of_user(find: Callable[[str], Path]) -> Path:
    """Return nnbench's folder in one of the user's, which platformdirs finds; the cache, for example.

    Without HOME, and without an entry for the user, there is none; then it is one that cannot be made.
    """
    try:
        folder = find("nnbench")
    except RuntimeError:  # as newer versions say it; older ones give a folder called ~
        return NOWHERE
    return folder if folder.is_absolute() else NOWHERE
