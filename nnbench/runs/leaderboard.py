"""How backends stand best in folders of runs: on machines of the same hardware, for each thing that was trained.

Times as fast need one divisor. Runs of the same workload with as many threads are held against the backend that most of them were
compared with; those that lack it stand by themselves, and are held against another one.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING

from nnbench.contract.errors import ResultsError
from nnbench.figures import machines
from nnbench.figures.columns import value
from nnbench.figures.frames import CLASSES
from nnbench.figures.metrics import TRAINING
from nnbench.runs import history
from nnbench.runs.folders import AtPoint, LeftOut, copies, read_points
from nnbench.runs.run import Run
from nnbench.texts import encode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from nnbench.data.workloads import Workload
    from nnbench.figures.columns import Row
    from nnbench.records.runs import Environment, RunInfo
    from nnbench.runs.history import History

    Open = Callable[[AtPoint], Run]
    Keep = Callable[[AtPoint], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """How a backend stands in a run, on machines of the same hardware."""

    folder: Path
    info: RunInfo  #: of these machines
    row: Row  #: of both tables
    runs: int = 1  #: in how many runs it ranks there

    @property
    def ranks(self) -> bool:
        """Whether it has a place among others."""
        return not self.row.no_rank and value(self.row, "ratio") is not None

    @property
    def is_proved(self) -> bool:
        """Whether some of its steps were proved, which runs of before proofs lack."""
        return bool(value(self.row, "steps_proved"))

    @property
    def place(self) -> tuple[bool, int, float, str]:
        """What its place in a table depends on: a rank, the class of its products, and its time."""
        ratio = self.row.ratio if self.ranks else inf
        return not self.ranks, CLASSES.index(self.row.precision), ratio, self.row.backend


@dataclass(frozen=True, slots=True)
class Board:
    """How every backend stands best on machines of the same hardware."""

    machine: str  #: what they are called
    environment: Environment  #: of one of them
    standings: list[Standing]  #: the fastest first, those without a rank last


@dataclass(frozen=True, slots=True)
class Course:
    """Runs that trained the same with as many threads, and are held against the same backend."""

    workload: Workload
    threads: int
    baseline: str
    runs: dict[Path, RunInfo]  #: by date
    boards: list[Board]
    history: History | None  #: of what several runs have


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """All courses, and what is to be said of the runs."""

    courses: list[Course]
    notes: list[str]

    @property
    def runs(self) -> dict[Path, RunInfo]:
        """Every run that is in it."""
        return {folder: info for course in self.courses for folder, info in course.runs.items()}


def open_lazily(at: AtPoint) -> Run:
    """Open a point of a run without the losses of its steps, nearly all that there is to read."""
    known = {*at.info.backends, *at.info.unavailable}
    return Run.open_some(at.folder, at.info, known, at.place)


def collect(
    paths: Iterable[Path], opened: Open = open_lazily, keep: Keep | None = None
) -> Leaderboard:
    """Read the runs in some folders once each, and find how every backend stands best.

    Parameters
    ----------
    paths
        Each is a run, or holds runs.
    opened
        Opens one of them; a ``ResultsError`` leaves it out.
    keep
        Is called of each that was opened, before the next one is.

    Raises
    ------
    ResultsError
        If there is none, or none that can be read.
    """
    out = LeftOut()
    courses = [
        _course(baseline, own, opened, keep, out)
        for alike in _alike(read_points(paths, out))
        for baseline, own in _against(alike).items()
    ]
    courses = [course for course in courses if course.runs]
    if not courses:
        raise ResultsError("; ".join(["there is no run that can be read", *out.lines]))
    return Leaderboard(courses, out.lines)


def _alike(points: Iterable[AtPoint]) -> list[dict[Path, AtPoint]]:
    """Return what trained the same with as many threads, each by date."""
    found: dict[tuple[str, int, bytes], dict[Path, AtPoint]] = {}
    for at in sorted(points, key=lambda at: (at.info.started, str(at.folder))):
        trained = encode(replace(at.info.workload, summary=""))
        found.setdefault((at.info.workload.name, at.info.threads, trained), {})[at.folder] = at
    return [found[key] for key in sorted(found)]


def _against(points: dict[Path, AtPoint]) -> dict[str, dict[Path, AtPoint]]:
    """Return runs by what they are held against: the baseline of the most of them, then of the most of the rest; of equals the newest's."""
    found = {}
    rest = dict(points)
    while rest:
        asked = Counter(at.info.baseline for at in reversed(rest.values()))
        [(baseline, _)] = asked.most_common(1)
        own = {
            folder: at
            for folder, at in rest.items()
            if baseline in {at.info.baseline, *at.info.backends}
        }
        found[baseline] = own
        rest = {folder: at for folder, at in rest.items() if folder not in own}
    return found


@dataclass(slots=True)
class _Reading:
    """What is seen of each run of a course while it is open."""

    baseline: str
    standings: dict[Path, list[Standing]] = field(default_factory=dict)
    cells: dict[Path, set[tuple[object, ...]]] = field(default_factory=dict)

    def look(self, folder: Path, run: Run) -> Run:
        """Take in a run, and return it as it is seen."""
        could_run = self.baseline in run.info.backends
        seen = run.seen(baseline=self.baseline) if could_run else run
        self.cells[folder] = {cell.identity for cell in run.cells if cell.status.ran}
        self.standings[folder] = [
            Standing(folder, part.used, row)
            for part in (seen.kinds or {"": seen}).values()
            for row in part.frame
            if any(cell.status.ran for cell in part.of(row.backend))
        ]
        return seen


def _course(
    baseline: str, points: dict[Path, AtPoint], opened: Open, keep: Keep | None, out: LeftOut
) -> Course:
    """Read runs, and return what they come to."""
    reading = _Reading(baseline)

    def runs() -> Iterator[Run]:
        for folder, at in points.items():
            try:
                seen = reading.look(folder, opened(at))
            except ResultsError as error:
                out.alone.append(str(error))
                continue
            if keep:
                keep(at)
            yield seen

    infos = {folder: at.info for folder, at in points.items()}
    newest = [*infos.values()][-1]
    names = dict.fromkeys(name for info in infos.values() for name in info.backends)
    others = [name for name in names if name != baseline]
    found = history.follow(runs(), TRAINING, baseline, others, newest)
    for folder, whole in copies(reading.cells).items():
        out.add(f"all of its cells are in {whole}", folder)
        del reading.standings[folder]
    series = [each for each in found.series if each.points[1:]]
    return Course(
        workload=newest.workload,
        threads=newest.threads,
        baseline=baseline,
        runs={folder: info for folder, info in infos.items() if folder in reading.standings},
        boards=_boards(each for own in reading.standings.values() for each in own),
        history=replace(found, series=series, notes=_within(infos, found.notes))
        if series
        else None,
    )


def _within(folders: Iterable[Path], lines: Iterable[str]) -> list[str]:
    """Return lines that name runs by their folders alone: who reads them elsewhere has no use for the rest."""
    places = {f"{folder.parent}{os.sep}" for folder in folders if folder.parent.name}
    pattern = re.compile("|".join(map(re.escape, sorted(places, key=len, reverse=True))) or "$^")
    return [pattern.sub("", line) for line in lines]


def _boards(standings: Iterable[Standing]) -> list[Board]:
    """Return the best standings on each kind of hardware."""
    by_hardware: dict[str, list[Standing]] = {}
    for each in standings:
        by_hardware.setdefault(each.info.environment.hardware_kind, []).append(each)
    newest = {kind: own[-1].info.environment for kind, own in by_hardware.items()}
    names = machines.names(newest)
    boards = [Board(names[kind], newest[kind], _best(own)) for kind, own in by_hardware.items()]
    return sorted(boards, key=lambda board: board.machine)


def _best(standings: Iterable[Standing]) -> list[Standing]:
    """Return the best standing of each backend, and in how many runs it has one.

    That is the one that is surely fastest: whose interval ends lowest, since of many runs the fastest is a lucky one. What was proved goes
    before what was not, and what has no rank counts where there is nothing else; of equals the newest.
    """
    by_backend: dict[str, list[Standing]] = {}
    for each in standings:
        by_backend.setdefault(each.row.backend, []).append(each)
    found = [
        replace(
            min(reversed(own), key=_how_sure),
            runs=len({each.folder for each in own if each.ranks}),
        )
        for own in by_backend.values()
    ]
    return sorted(found, key=lambda each: each.place)


def _how_sure(standing: Standing) -> tuple[bool, bool, float, float]:
    high = value(standing.row, "ratio_high")
    ratio = value(standing.row, "ratio")
    return (
        not standing.ranks,
        not standing.is_proved,
        inf if high is None else high,
        inf if ratio is None else ratio,
    )
