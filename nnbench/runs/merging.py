"""Join runs of the same that were made on several machines, or one after the other, to one run.

Each keeps its blocks, whose numbers go on, and a block keeps its machine: ratios are taken within a block, so they pool.
What goes together is what one run could have had: all that was asked for is the same, and so is the code of the backends.
"""

from __future__ import annotations

import shutil
import warnings
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from nnbench import files
from nnbench.contract.errors import IncomparableError, ResultsError
from nnbench.proof import kept
from nnbench.records.cells import Status
from nnbench.runs import store
from nnbench.runs.comparison import workloads_apart
from nnbench.runs.sweep import Sweep
from nnbench.texts import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from nnbench.records.cells import CellResult
    from nnbench.records.runs import Machine, RunInfo

    Cells = list[tuple[CellResult, CellResult]]  # as they were, and as they are now

#: What was asked of runs, by what users call it: only what agrees in it could be one run.
ASKED = {
    "baseline": "baseline",
    "proof": "proof",
    "keep_states": "keep-states",
    "turns": "turns",
    "detect": "detect",
    "budget_s": "budget",
    "plugins": "plugins",
}
#: Likewise of each of their points.
ASKED_OF_POINTS = {
    "threads": "threads",
    "dataset_sha256": "SHA-256 of the dataset",
    "dataset_classes": "classes",
}


class MergeWarning(UserWarning):
    """Runs differ in what should not matter."""


def merge(
    folders: Sequence[Path], output: Path, command: str, conclude: Callable[[Sweep, Path], object]
) -> RunInfo:
    """Join runs to one in a new folder, which is there whole or not at all.

    Parameters
    ----------
    folders
        Of the runs, in the order that their blocks get.
    output
        The new one; it may be there if it is empty.
    command
        That was typed.
    conclude
        Called with the run before its folder has its name, and where it is until then.

    Raises
    ------
    IncomparableError
        If the runs do not go together; the message says why.
    ResultsError
        If one cannot be read, or the new one not be written.
    """
    infos = [store.read_info(folder) for folder in folders]
    for folder, info in zip(folders[1:], infos[1:], strict=True):
        if reason := why_apart(infos[0], info):
            raise IncomparableError(f"{folders[0]} and {folder} do not go together: {reason}")
    _warn(folders, infos)
    store.require_new(output)
    if output.is_dir() and any(output.iterdir()):
        raise ResultsError(f"{output} is not empty; give another --output")
    machines = _Machines()
    names = [machines.add(info) for info in infos]
    cells, rounds = _numbered(folders, names)
    whole = _info(infos, machines.all, rounds, command)
    with _new(output) as place:
        _write(place, cells)
        if whole.keep_states:
            _copy_states(folders, place, cells)
        store.create(place, whole)
        conclude(Sweep.open(place), place)
    return whole


def why_apart(one: RunInfo, other: RunInfo) -> str:
    """Say why two runs cannot be one; nothing if they can."""
    if len(one.points) != len(other.points):
        return f"they have {len(one.points)} and {len(other.points)} points"
    for ours, theirs in zip(one.points, other.points, strict=True):
        if ours.workload != theirs.workload:
            apart = workloads_apart(ours.workload, theirs.workload)
            return f"the runs trained different workloads ({apart})"
        for name, called in ASKED_OF_POINTS.items():
            mine, its = getattr(ours, name), getattr(theirs, name)
            if mine != its:
                return f"{called} ({_spell(mine, its)})"
    if one.backends.keys() != other.backends.keys():
        differ = sorted(one.backends.keys() ^ other.backends.keys())
        return f"only one of them has {', '.join(differ)}"
    for name, called in ASKED.items():
        mine, its = getattr(one, name), getattr(other, name)
        if mine != its:
            return f"{called} ({_spell(mine, its)})"
    first = _software(one.machine)
    for machine in [*one.machines.values(), *other.machines.values()]:
        own = _software(machine)
        for name in first | own:
            if first.get(name) != own.get(name):
                return f"{name} ({first.get(name, 'none')}, {own.get(name, 'none')})"
    return ""


def _spell(one: object, other: object) -> str:
    """Write two values; of dictionaries what differs."""
    if isinstance(one, dict) and isinstance(other, dict):
        differ = [key for key in one | other if one.get(key) != other.get(key)]
        return ", ".join(
            f"{key}: {one.get(key, 'none')} and {other.get(key, 'none')}" for key in differ
        )
    return f"{one}, {other}"


def _software(machine: Machine) -> dict[str, object]:
    """Return what decides what backends do, by name: versions, and Python; a machine may have its own system."""
    return {k: v for k, v in machine.environment.software.items() if k != "system"}


def _warn(folders: Sequence[Path], infos: Sequence[RunInfo]) -> None:
    """Warn of other commits, as a run that goes on does."""
    first = infos[0].environment.git
    for folder, info in zip(folders, infos, strict=True):
        if (own := info.environment.git) != first:
            text = f"{folders[0]} was made in a folder at {first or 'no commit'}, {folder} at {own or 'no commit'}"
            warnings.warn(text, MergeWarning, stacklevel=3)


class _Machines:
    """The machines of all runs, each by one name of its own."""

    def __init__(self) -> None:
        self.all: dict[str, Machine] = {}

    def add(self, info: RunInfo) -> dict[str, str]:
        """Take in those of a run, and return how each is called now; what is equal in everything is one."""
        return {name: self._called(name, machine) for name, machine in info.machines.items()}

    def _called(self, name: str, machine: Machine) -> str:
        own, number = name, 1
        while self.all.setdefault(own, machine) != machine:
            number += 1
            own = f"{name}-{number}"
        return own


def _numbered(folders: Sequence[Path], names: Sequence[dict[str, str]]) -> tuple[list[Cells], int]:
    """Return the cells of each run with numbers of rounds that go on, and how many rounds there are.

    Raises
    ------
    IncomparableError
        If two runs have a cell in common.
    """
    found: list[Cells] = []
    # By the place of a run, since one that is named twice has every cell in common with itself.
    seen: dict[tuple[object, ...], int] = {}
    rounds, skipped = 0, set[tuple[int, str]]()
    for at, (folder, called) in enumerate(zip(folders, names, strict=True)):
        cells = list(store.read_cells(folder))
        made = sorted({cell.round for cell in cells if cell.status is not Status.SKIPPED})
        numbers = {round_: rounds + place for place, round_ in enumerate(made)}
        own: Cells = []
        for cell in cells:
            if cell.status.ran and (first := seen.setdefault(cell.identity, at)) != at:
                pair = f"{folders[first]} and {folder}"
                raise IncomparableError(f"{pair} do not go together: they have cells in common")
            if cell.status is Status.SKIPPED and (cell.point, cell.backend) in skipped:
                continue  # it has said so once
            number = numbers.get(cell.round, rounds)
            now = replace(cell, round=number, machine=called.get(cell.machine, cell.machine))
            own.append((cell, now))
        skipped |= {(c.point, c.backend) for c in cells if c.status is Status.SKIPPED}
        rounds += len(made)
        found.append(own)
    return found, rounds


def _info(
    infos: Sequence[RunInfo], machines: dict[str, Machine], rounds: int, command: str
) -> RunInfo:
    """Describe all runs as one.

    Its seed is known if each run went on where the one before had ended; otherwise only the cells have theirs.
    """
    seeds = [info.seed for info in infos]
    ends = [None if info.seed is None else info.seed + info.rounds for info in infos]
    goes_on = all(end == seed for end, seed in zip(ends, seeds[1:], strict=False))
    planned = sum(info.rounds for info in infos)
    return replace(
        infos[0],
        started=min(info.started for info in infos),
        command=command,
        rounds=max(rounds, 1),
        seed=seeds[0] if goes_on and planned == rounds else None,
        timeout_s=max(info.timeout_s for info in infos),
        machines=machines,
    )


@contextmanager
def _new(output: Path) -> Iterator[Path]:
    """Give a folder that gets the name of another one in the end, or goes; what a kill has left of one goes, too."""
    place = output.absolute().with_name(f".{output.name}.merging")
    with store.hold(place):
        try:
            for path in place.iterdir():
                if path.name == store.LOCK:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            yield place
            with files.named(output):
                place.rename(output.absolute())
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise


def _write(place: Path, found: Sequence[Cells]) -> None:
    path = place / store.CELLS
    with files.named(place), files.writing(path) as file:
        for cells in found:
            file.writelines(encode(now) + b"\n" for _, now in cells)


def _copy_states(folders: Sequence[Path], place: Path, found: Sequence[Cells]) -> None:
    """Copy the states that are kept, under the numbers that their cells have now."""
    for folder, cells in zip(folders, found, strict=True):
        for before, now in cells:
            source, target = kept.path(folder, before), kept.path(place, now)
            if not source.exists():
                continue
            with files.named(place):
                target.parent.mkdir(exist_ok=True)
                with files.open_regular(source) as old, files.writing(target) as new:
                    shutil.copyfileobj(old, new, kept.CHUNK)
