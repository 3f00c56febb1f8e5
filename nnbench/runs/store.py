"""A run on disk: ``run.json`` says what was asked and where, ``cells.jsonl`` what happened.

Every finished cell is one line, on disk before the next block starts. Tables are derived from these
two files and never edited.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from nnbench import files
from nnbench.contract.bounds import Line, Number
from nnbench.contract.errors import ExitCode, ResultsError
from nnbench.records.cells import LOCAL, CellResult, Status
from nnbench.records.runs import SCHEMA_VERSION, Machine, Point, RunInfo
from nnbench.texts import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

T = TypeVar("T")
RESULTS = Path("results")  #: where runs go that nobody has chosen a folder for
RUN, CELLS, LOCK = "run.json", "cells.jsonl", ".lock"
#: Of an epoch: numbers and nulls alone. A text in JSON has no quotes but escaped ones, so this is in none.
LOSSES = re.compile(rb'"losses":\s*\[[^][{}"]*\]')
OF_DATASET = ("dataset_sha256", "dataset_classes")  #: of a point, and of the run before version 3
AGAIN = re.compile(rb'"block_attempt":\s*[1-9]')


def default_folder(info: RunInfo, name: str = "") -> Path:
    """Return ``results/<time>-<name>`` below the working directory; the name is the workload's, or tells of a sweep."""
    return RESULTS / folder_name(info.started, name or _named(info.points))


def _named(points: Sequence[Point]) -> str:
    if not points[1:]:
        return points[0].workload.name
    return f"{'-'.join(dict.fromkeys(point.workload.base for point in points))}-sweep"


def folder_name(started: str, name: str) -> str:
    """Return ``<time>-<name>``, of what file names may hold everywhere."""
    time = re.sub("[-:]", "", started)
    name = re.sub(r"[^\w.=+-]+", "-", name)
    return f"{time}-{name}"[:120]


def create(folder: Path, info: RunInfo) -> None:
    """Make a new results folder with its ``run.json``.

    Raises
    ------
    ResultsError
        If the folder already holds a run, or cannot be written, or the run is none that can be read.
    """
    try:
        msgspec.json.decode(encode(info), type=RunInfo)
    except msgspec.ValidationError as error:  # better now than when all is trained
        raise ResultsError(f"nobody could read this run again: {error}") from error
    require_new(folder)
    with files.named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        files.write_whole(folder / RUN, _content(info))


def rewrite(folder: Path, info: RunInfo) -> None:
    """Write ``run.json`` of a run anew: more is known of it."""
    with files.named(folder):
        files.write_whole(folder / RUN, _content(info))


def _content(info: RunInfo) -> bytes:
    """Return ``run.json``; that of one point as version 2 has it, which older ones read, too."""
    table = msgspec.json.decode(encode(info))
    if not info.points[1:]:
        [point] = table["points"]
        table |= {"schema_version": 2, **{name: point.pop(name) for name in OF_DATASET}}
    return msgspec.json.format(msgspec.json.encode(table))


def require_new(folder: Path) -> None:
    """Refuse a folder that already holds a run, or cannot be written; nothing is left there."""
    with files.named(folder):
        if (folder / RUN).exists():
            raise ResultsError(f"{folder} already holds a run; give another --output")
    files.check_folder(folder)


class ForgedError(ResultsError):
    """Somebody else has written to the cells of a run."""

    exit_code = ExitCode.INTERNAL


class Ledger:
    """The cells that a run writes, one line after the other, and nobody else meanwhile.

    A backend runs as the user, and so may write to the folder. What nnbench itself has written is
    remembered, and a file that is another one is found before the next line, and at the end.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / CELLS
        self._hash = hashlib.sha256()
        self._size = 0
        if self.path.exists():
            for content in _chunks(self.path):
                self._hash.update(content)
                self._size += len(content)
        self._seen = self._look()

    def append(self, result: CellResult) -> None:
        """Add a finished cell; it is on disk when this returns.

        Raises
        ------
        ForgedError
            If others have written to the file.
        ResultsError
            If it cannot be written; the cells before it stay.
        """
        self.check()
        line = encode(result)
        try:
            files.append_line(self.path, line)
        except OSError as error:
            raise files.refusal(error, self.path, more="the cells before are kept") from error
        self._hash.update(line + b"\n")
        self._size += len(line) + 1
        self._seen = self._look()

    def check(self) -> None:
        """Find out whether the file is still what was written.

        Raises
        ------
        ForgedError
            If it is not.
        """
        now = self._look()
        if now == self._seen and (now is None or now[1] == self._size):
            return
        found = hashlib.sha256()
        if now is not None:
            for content in _chunks(self.path):
                found.update(content)
        if found.digest() != self._hash.digest():
            raise ForgedError(
                f"{self.path} is not as nnbench has written it: this run proves nothing"
            )
        self._seen = now

    def _look(self) -> tuple[int, int, int] | None:
        """Return what changes with the file: no process can set its ctime."""
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_size, stat.st_ctime_ns


def _chunks(path: Path) -> Iterator[bytes]:
    with files.open_regular(path) as file:
        while content := file.read(files.READ_AT_ONCE):
            yield content


def append(folder: Path, result: CellResult) -> None:
    """Add a finished cell to a run that nobody else writes to; see :meth:`Ledger.append`."""
    Ledger(folder).append(result)


def read_info(folder: Path) -> RunInfo:
    """Read ``run.json``.

    Raises
    ------
    ResultsError
        If the folder holds no run, a damaged one, or one of another schema version.
    """
    path = folder / RUN
    try:
        content = files.read_regular(path)
    except (OSError, ValueError) as error:  # a path may hold what no path can
        reason = error.strerror if isinstance(error, OSError) else error
        raise ResultsError(f"{folder} holds no run ({RUN}: {reason})") from error
    with _damaged(path):
        found = msgspec.json.decode(content)
        version = msgspec.convert(found, _Versioned).schema_version
    if version in UPGRADES:
        with _damaged(path):
            content = msgspec.json.encode(upgrade(found))
    elif version != SCHEMA_VERSION:
        versions = f"schema version {version}, and this nnbench reads 1 to {SCHEMA_VERSION}"
        raise ResultsError(f"{path} has {versions}")
    return _decode(content, RunInfo, path)


class _Versioned(msgspec.Struct):
    """What a ``run.json`` of any version has."""

    schema_version: Number | Line | None = None


def upgrade(before: dict[str, Any]) -> dict[str, Any]:
    """Return a ``run.json`` of an earlier version as it is now."""
    while change := UPGRADES.get(before["schema_version"]):
        before = change(before)
    return before


def _second(first: dict[str, Any]) -> dict[str, Any]:
    """Return what version 1 has as version 2 has it: one point, and one machine."""
    rest = {**first, "schema_version": 2}

    def take(kind: type) -> dict[str, Any]:
        names = {field.name for field in fields(kind)} & rest.keys()
        return {name: rest.pop(name) for name in names}

    dataset = {name: rest.pop(name) for name in OF_DATASET if name in rest}
    return {"points": [take(Point)], "machines": {LOCAL: take(Machine)}, **rest, **dataset}


def _third(second: dict[str, Any]) -> dict[str, Any]:
    """Return what version 2 has as version 3 has it: each point has its dataset."""
    rest = {**second, "schema_version": 3}
    dataset = {name: rest.pop(name) for name in OF_DATASET if name in rest}
    match rest.get("points"):
        case [dict(point)]:
            rest["points"] = [{**point, **dataset}]
    return rest


UPGRADES: dict[object, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _second, 2: _third}


def read_cells(
    folder: Path, *, warn: bool = True, mend: bool = False, only: Collection[str] | None = None
) -> Iterator[CellResult]:
    """Yield the finished cells, in the order in which they ran.

    ``only`` has those of some backends, and without their losses, nearly all that there is to read: much sooner.

    Of a block that ran again only the last attempt counts: the cells of others are not final.

    A last line that a kill has torn is left out, with a warning if that is wanted, and cut off if
    cells are to be added.

    Raises
    ------
    ResultsError
        If any other line is damaged, the file is none that can be read, or the last line cannot be
        cut off.
    """
    path = folder / CELLS
    begins = tuple(b'{"backend":' + encode(label) + b"," for label in only or ())
    try:
        superseded = _superseded(folder)
        for number, line in enumerate(files.read_lines(path, warn=warn, mend=mend), start=1):
            if only is not None:
                line = _without_losses(line)
                if not line.startswith(begins) and not _is_of(line, only):
                    continue
            cell = _decode(line, CellResult, f"{path}:{number}")
            if cell.status is Status.OK and not cell.complete:  # before it had its own status
                cell = replace(cell, status=Status.BUDGET)
            yield replace(cell, final=False) if superseded(cell) else cell
    except OSError as error:
        if mend:
            raise files.refusal(error, path) from error
        raise ResultsError(f"cannot read {path}: {files.reason(error)}") from error


def _without_losses(line: bytes) -> bytes:
    """Return the record of a cell without its losses, if it also says how many steps there were."""
    short, count = LOSSES.subn(b'"losses":[]', line)
    return short if short.count(b'"steps":') >= count else line


def _is_of(line: bytes, backends: Collection[str]) -> bool:
    """Tell whether a record is that of a cell of some backends, or is damaged, which others find."""
    try:
        return msgspec.json.decode(line, type=_Place).backend in backends
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True


class _Place(msgspec.Struct):
    """Where a cell belongs: some of its fields."""

    backend: str
    round: int
    point: int = 0
    block_attempt: int = 0


def supersedes(new: CellResult, old: CellResult) -> bool:
    """Tell whether a cell is of a later attempt at the block of another, which counts no more.

    A backend that cannot run at all has its one cell before any block.
    """
    is_later = (new.point, new.round) == (old.point, old.round) and (
        new.block_attempt > old.block_attempt
    )
    return is_later and (old.status is not Status.SKIPPED or new.backend == old.backend)


def _superseded(folder: Path) -> Callable[[CellResult], bool]:
    """Return what tells whether a cell counts no more; mostly no block has run again."""
    path = folder / CELLS
    if not path.exists() or not _has_again(path):
        return lambda _: False
    last: dict[tuple[int, int], int] = {}
    for place in _places(folder):
        block = place.point, place.round
        last[block] = max(place.block_attempt, last.get(block, 0))
    at_last = {
        (place.backend, place.point, place.round)
        for place in _places(folder)
        if place.block_attempt == last[place.point, place.round]
    }

    def superseded(cell: CellResult) -> bool:
        if cell.block_attempt == last[cell.point, cell.round]:
            return False
        is_skipped = cell.status is Status.SKIPPED
        return not is_skipped or (cell.backend, cell.point, cell.round) in at_last

    return superseded


def _has_again(path: Path) -> bool:
    """Tell whether a later attempt at a block is in a file, without decoding its records."""
    with files.open_regular(path, buffering=files.READ_AT_ONCE) as file:
        pieces = iter(partial(file.readline, files.LONGEST_LINE), b"")
        lines = takewhile(lambda piece: piece.endswith(b"\n"), pieces)  # others find what is none
        return any(AGAIN.search(line) for line in lines)


def _places(folder: Path) -> Iterator[_Place]:
    """Yield where the cells belong; a damaged line is for others to find."""
    for line in files.read_lines(folder / CELLS, warn=False):
        with suppress(msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            yield msgspec.json.decode(line, type=_Place)


def _decode(content: bytes, kind: type[T], where: object) -> T:
    with _damaged(where):
        return msgspec.json.decode(content, type=kind)


@contextmanager
def _damaged(where: object) -> Iterator[None]:
    """Say of what cannot be decoded where it stands."""
    try:
        yield
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ResultsError(f"{where} is damaged: {error}") from error
    except RecursionError as error:
        raise ResultsError(f"{where} is damaged: it is nested too deeply") from error


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
    with files.named(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Without O_NONBLOCK, to open a pipe would be to wait for whoever reads it.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK
        file = os.fdopen(os.open(folder / LOCK, flags, 0o666), "wb")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResultsError(f"{folder} is in use by another run") from error
        except OSError as error:
            raise files.refusal(error, folder, "lock") from error
        yield
