"""Folders of runs, which are all the store there is: which runs they hold, and what of them cannot be used."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nnbench.contract.errors import ResultsError
from nnbench.runs import store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nnbench.records.runs import RunInfo

    Identities = dict[Path, set[tuple[object, ...]]]  # of the cells of each run


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Runs that cannot be used, by the reason."""

    runs: defaultdict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    alone: list[str] = field(default_factory=list)  #: whose reason names them

    def add(self, reason: str, folder: Path) -> None:
        """Take in a run, once for each reason."""
        if folder not in self.runs[reason]:
            self.runs[reason].append(folder)

    @property
    def lines(self) -> list[str]:
        """A line for each reason."""
        grouped = (f"{named(folders)}: {reason}" for reason, folders in self.runs.items())
        return [f"left out: {line}" for line in dict.fromkeys([*self.alone, *grouped])]


def named(folders: Sequence[Path], most: int = 5) -> str:
    """Name some folders, or the first of many."""
    names = [str(folder) for folder in folders]
    if len(names) > most + 1:
        names[most:] = [f"{len(names) - most} more"]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def read_infos(folders: Iterable[Path], out: LeftOut) -> dict[Path, RunInfo]:
    """Return what was asked of each run in some folders, of which each is a run, or holds some.

    Raises
    ------
    ResultsError
        If a folder holds none.
    """
    found = {}
    for folder in _find(folders):
        try:
            found[folder] = store.read_info(folder)
        except ResultsError as error:
            out.alone.append(str(error))
    return found


class AtPoint(NamedTuple):
    """A point of a run."""

    folder: Path
    info: RunInfo  #: of this point alone
    place: int | None  #: which it is, where there are several


def read_points(folders: Iterable[Path], out: LeftOut) -> list[AtPoint]:
    """Return the points of the runs in some folders, in the order in which these were started; see :func:`read_infos`."""
    infos = sorted(read_infos(folders, out).items(), key=lambda item: item[1].started)
    return [
        AtPoint(folder, info.at(index), index if info.points[1:] else None)
        for folder, info in infos
        for index in range(len(info.points))
    ]


def _find(folders: Iterable[Path]) -> Iterator[Path]:
    """Yield folders of runs, each once however it is named."""
    seen = set[Path]()
    for folder in folders:
        found = [folder] if _is_run(folder) else [*_within(folder)]
        if not found:
            raise ResultsError(f"{folder} holds no runs")
        for path in found:
            if (real := path.resolve()) not in seen:
                seen.add(real)
                yield path


def _within(folder: Path) -> Iterator[Path]:
    try:
        children = sorted(folder.iterdir())
    except OSError as error:
        raise ResultsError(f"{folder} holds no runs ({error.strerror})") from error
    yield from (path for path in children if not path.name.startswith(".") and _is_run(path))


def _is_run(folder: Path) -> bool:
    """Tell whether a folder holds a run, or what is left of one."""
    try:
        return any((folder / name).exists() for name in (store.RUN, store.CELLS))
    except OSError:  # nobody may look
        return False


def copies(cells: Identities) -> dict[Path, Path]:
    """Return runs whose cells are all in another one, as those of a copy are, or of a part of what was merged."""
    owners: dict[tuple[object, ...], set[Path]] = defaultdict(set)
    for folder, own in cells.items():
        for identity in own:
            owners[identity].add(folder)
    order = {folder: place for place, folder in enumerate(cells)}
    found = {}
    for folder, own in cells.items():
        if not own:
            continue
        others = set.intersection(*(owners[identity] for identity in own)) - {folder}
        size = len(own), -order[folder]
        larger = [other for other in others if (len(cells[other]), -order[other]) > size]
        if larger:
            found[folder] = max(larger, key=lambda other: (len(cells[other]), -order[other]))
    return found
