"""What nnbench has left on disk beside results, and can make again: caches, environments, kept states."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from nnbench import files
from nnbench.contract.errors import ResultsError
from nnbench.execution import environments, process
from nnbench.proof import kept
from nnbench.runs import store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ENVIRONMENT = "environment"  #: the kind of one that ``nnbench continuous`` has built, or begun


@dataclass(frozen=True, slots=True)
class Leftover:
    """A folder, or a file, that may go."""

    kind: str
    path: Path
    run: Path | None = None  #: whose states they are

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(path.lstat().st_size for each in self._paths for path in _files(each))

    @property
    def changed(self) -> datetime:
        """When anything in it was last written."""
        paths = [path for each in self._paths for path in (each, *_files(each))]
        return datetime.fromtimestamp(max(path.lstat().st_mtime for path in paths), UTC)

    @property
    def _paths(self) -> list[Path]:
        """What goes with it, as far as that is there: of an environment its log and its lock, too."""
        those = environments.beside(self.path) if self.kind == ENVIRONMENT else ()
        return [path for path in (self.path, *those) if path.exists() or path.is_symlink()]

    def remove(self) -> None:
        """Remove it.

        Raises
        ------
        ResultsError
            If a run is writing states to it, if it is being built, or the system does not let us.
        """
        if self.kind == ENVIRONMENT:
            with files.named(self.path, "remove"):
                environments.remove(self.path)
            return
        with store.hold(self.run) if self.run else nullcontext(), files.named(self.path, "remove"):
            if self.path.is_dir() and not self.path.is_symlink():
                shutil.rmtree(self.path)
            else:
                self.path.unlink()


def find(runs: Iterable[Path]) -> Iterator[Leftover]:
    """Yield what is in the user's cache, and the states of some runs.

    Raises
    ------
    ResultsError
        If a folder holds no run.
    """
    built = environments.cache_folder()
    for path in sorted({p if p.is_dir() else p.with_suffix("") for p in _children(built)}):
        yield Leftover(ENVIRONMENT, path)
    for path in _children(process.cache()):
        if path != built:
            yield Leftover(f"cache: {path.name}", path)
    for run in {run.resolve(): run for run in runs}.values():  # each once, however it is named
        is_run = False
        with suppress(OSError):  # as of a name that is too long
            is_run = (run / store.RUN).exists()
        if not is_run:
            raise ResultsError(f"{run} holds no run")
        if (run / kept.FOLDER).is_dir():
            yield Leftover("states", run / kept.FOLDER, run)


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _files(path: Path) -> Iterator[Path]:
    """Yield all files at and below a path; links count as themselves."""
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    for folder, _, names in os.walk(path):
        yield from (Path(folder, name) for name in names)
