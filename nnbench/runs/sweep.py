"""A run with all of its points: one, or those of a sweep. Of each there is a Run, which has its tables."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Literal

from nnbench.contract.errors import NnbenchError, ResultsError
from nnbench.figures import axes, columns
from nnbench.runs import store
from nnbench.runs.run import Run, read, read_noting

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from nnbench.figures.columns import Table
    from nnbench.figures.frames import Frame
    from nnbench.records.cells import CellResult
    from nnbench.records.runs import Machine, RunInfo


class Sweep:
    """What was asked of a run, and what there is of each of its points.

    Parameters
    ----------
    info
        What was asked of the run.
    cells
        The attempts at its cells that tables use, without losses; None reads them from the folder: at once if there
        are several points, and if there is one when something first asks for them.
    folder
        Where the run is on disk.
    """

    def __init__(
        self,
        info: RunInfo,
        cells: Iterable[CellResult] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.info, self.folder = info, folder
        #: The last attempt at each block that has a cell, by point and round, of a run that goes on.
        self.attempted: dict[tuple[int, int], int] = {}
        self._warnings: list[str] = []
        count = len(info.points)
        if cells is None and count == 1:
            self.runs = [Run(info, folder=folder)]
            return
        if cells is None:
            kept, further, self._warnings = read_noting(store.read_cells(folder) if folder else ())
            cells = [*kept, *further]
        own: list[list[CellResult]] = [[] for _ in range(count)]
        for cell in cells:
            if cell.point >= count:
                raise ResultsError(
                    f"{folder} is damaged: a cell is of point {cell.point} of {count}"
                )
            own[cell.point].append(cell)
        settings = axes.settings(info.points)
        self.runs = [
            Run.made_of(
                info.at(n), own[n], folder, index=n if count > 1 else None, setting=settings[n]
            )
            for n in range(count)
        ]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the run in a folder.

        Raises
        ------
        ResultsError
            If the folder holds no run, or a damaged one; damaged cells of one point are found when they are read.
        """
        return cls(store.read_info(folder), folder=folder)

    @classmethod
    def go_on(cls, folder: Path) -> Self:
        """Open a run to add cells to it: a torn last line is cut off, and the cells are read now.

        Raises
        ------
        ResultsError
            As :meth:`open`, and if the folder cannot be written.
        """
        attempted: dict[tuple[int, int], int] = {}

        def noted() -> Iterator[CellResult]:
            for cell in store.read_cells(folder, mend=True):
                block = cell.point, cell.round
                attempted[block] = max(cell.block_attempt, attempted.get(block, 0))
                yield cell

        cells, further = read(noted())
        found = cls(store.read_info(folder), [*cells, *further], folder)
        found.attempted = attempted
        return found

    def __iter__(self) -> Iterator[Run]:
        """Yield the run at each point."""
        return iter(self.runs)

    @property
    def alone(self) -> Run:
        """The run of the one point, for what is made of one alone.

        Raises
        ------
        NnbenchError
            If there are several.
        """
        if self.runs[1:]:
            some = "; ".join(axes.described(run.setting) for run in self.runs[:3])
            more = f"; and {len(self.runs) - 3} more" if self.runs[3:] else ""
            text = f"{self.folder} has {len(self.runs)} points ({some}{more})"
            raise NnbenchError(f"{text}: choose one by --workload and --at")
        return self.runs[0]

    @property
    def cells(self) -> list[CellResult]:
        """The attempt at each cell that counts, point by point."""
        return [*chain.from_iterable(run.cells for run in self.runs)]

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the files, though they can be read."""
        return [*self._warnings, *chain.from_iterable(run.warnings for run in self.runs)]

    def attempts(self) -> Iterator[CellResult]:
        """Yield every attempt at every cell as it is on disk, with the loss of every step."""
        if self.folder is None or not self.info.points[1:]:
            return chain.from_iterable(run.attempts() for run in self.runs)
        points = {run.index: run for run in self.runs}
        found = store.read_cells(self.folder, warn=False)
        return (c for c in found if (run := points.get(c.point)) and run.has(c))

    def add(self, cell: CellResult) -> None:
        """Take in an attempt that is on disk."""
        self.runs[cell.point].add(cell)

    def join(self, name: str, machine: Machine) -> None:
        """Note that a machine takes part."""
        machines = {**self.info.machines, name: machine}
        self.info = replace(self.info, machines=machines)
        for run in self.runs:
            run.info = replace(run.info, machines=machines)

    def at(self, workload: str | None = None, chosen: Mapping[str, str] | None = None) -> Self:
        """Return some of the points.

        Parameters
        ----------
        workload
            Of those that train this one, with whatever was derived from it, or it alone by its whole name.
        chosen
            Values of axes, as they stand in the tables.

        Raises
        ------
        NnbenchError
            If there is none such; the message says what there is.
        """
        runs = self.runs
        if workload is not None:
            runs = [
                run for run in runs if workload in {run.info.workload.name, run.info.workload.base}
            ]
            if not runs:
                known = ", ".join(dict.fromkeys(run.info.workload.name for run in self.runs))
                raise NnbenchError(f"{self.folder} has no workload {workload!r}; known: {known}")
        for axis, value in (chosen or {}).items():
            if axis not in axes.AXES:
                raise NnbenchError(f"no axis {axis!r}; known: {', '.join(axes.AXES)}")
            there = dict.fromkeys(str(axes.AXES[axis](run.info.point)) for run in runs)
            if value not in there:
                text = f"{self.folder} has no point with {axis}={value}"
                raise NnbenchError(f"{text}; known: {', '.join(there)}")
            runs = [run for run in runs if str(axes.AXES[axis](run.info.point)) == value]
        return self._with(runs)

    def seen(
        self,
        *,
        baseline: str | None = None,
        target: float | None = None,
        backends: Collection[str] = (),
    ) -> Self:
        """Return the same run, looked at in another way, as :meth:`Run.seen` does each point."""
        return self._with(
            [run.seen(baseline=baseline, target=target, backends=backends) for run in self.runs]
        )

    def like(self, machine: str) -> Self:
        """Return what ran on machines of the same kind as one of them, as :meth:`Run.like` does of each point."""
        return self._with([run.like(machine) for run in self.runs])

    def _with(self, runs: Sequence[Run]) -> Self:
        """Return the same run with other, or fewer, points."""
        info = replace(runs[0].info, points=[run.info.point for run in runs])
        found = type(self)(info, [], self.folder)
        found.runs, found._warnings = [*runs], self._warnings
        return found

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.runs[0].name

    @property
    def labels(self) -> list[str]:
        """The backends that could run, and whatever has trained all the same."""
        return [*dict.fromkeys(chain.from_iterable(run.labels for run in self.runs))]

    def why_nothing(self) -> str:
        """Say why a run without figures, or without a ranking, has none."""
        return "; ".join(dict.fromkeys(run.why_nothing() for run in self.runs))

    @cached_property
    def tables(self) -> list[Table]:
        """Every table, with the rows of all points."""
        return columns.joined([run.tables for run in self.runs])

    @property
    def pairs_table(self) -> Table:
        """The table of every two backends at each point."""
        [table] = columns.joined([[run.pairs_table] for run in self.runs])
        return table

    @property
    def is_mixed(self) -> bool:
        """Whether the figures of a point are of several kinds of machines."""
        return any(run.is_mixed for run in self.runs)

    def every(self, name: Literal["accuracy", "timing"]) -> Frame:
        """Return a table with the rows of all points, as :meth:`Run.every` does."""
        return [row for run in self.runs for row in run.every(name)]
