"""What nnbench has left on disk beside results, and can make again: caches, environments, kept states."""

from __future__ import annotations

import os
import shutil
from contextlib import nullcontext
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


@dataclass(frozen=True, slots=True)
class Leftover:
    """A folder, or a file, that may go."""

    kind: str
    path: Path
    run: Path | None = None  #: whose states they are

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(path.lstat().st_size for path in _files(self.path))

    @property
    def changed(self) -> datetime:
        """When anything in it was last written."""
        times = (path.lstat().st_mtime for path in (self.path, *_files(self.path)))
        return datetime.fromtimestamp(max(times), UTC)

    def remove(self) -> None:
        """Remove it.

        Raises
        ------
        ResultsError
            If a run is writing states to it, or the system does not let us.
        """
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
    for path in _children(built):
        if path.is_dir():
            yield Leftover("environment", path)
    for path in _children(process.cache()):
        if path != built:
            yield Leftover(f"cache: {path.name}", path)
    for run in runs:
        if not (run / store.RUN).exists():
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
