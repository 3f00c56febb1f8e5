"""A run of one point that is there to be read: opened once by each command, and handed on."""

from __future__ import annotations

import gc
import warnings
from dataclasses import replace
from functools import cached_property
from itertools import chain
from types import MappingProxyType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from nnbench.contract.errors import NnbenchError, ResultsError
from nnbench.data.workloads import DERIVED
from nnbench.figures import metrics
from nnbench.runs import store

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path
    from typing import Self

    from nnbench.figures.axes import Setting
    from nnbench.figures.columns import Row, Table
    from nnbench.figures.frames import Frame, Group
    from nnbench.figures.outliers import Odd
    from nnbench.records.cells import CellResult
    from nnbench.records.runs import RunInfo


class Run:
    """What was asked, the cells, and the tables that follow from them: of one point, which may be one of several.

    A run with all of its points is a :class:`nnbench.runs.sweep.Sweep`.

    The cells are read when something first asks for them, and once. Their step losses, nearly all
    that a long run has on disk, are not kept: :meth:`losses` and :meth:`attempts` read them again.

    Parameters
    ----------
    info
        What was asked of the run.
    cells
        The attempt at each cell that counts, if they are known; None reads them from the folder.
    folder
        Where the run is on disk.
    index
        Of the point, where the run on disk has several.
    setting
        What tells the point from these.
    """

    def __init__(
        self,
        info: RunInfo,
        cells: Iterable[CellResult] | None = None,
        folder: Path | None = None,
        *,
        index: int | None = None,
        setting: Setting = MappingProxyType({}),
    ) -> None:
        self.info = info
        self.folder = folder
        self.index, self.setting = index, setting
        self._cells = None if cells is None else list(cells)
        self._further: list[CellResult] = []
        self._warnings: list[str] = []
        self._chosen: frozenset[str] | None = None  # labels whose cells are looked at; None is all

    def recorded(self, label: str) -> dict[str, str]:
        """Return what a backend wanted to be known of it, as its last cell said that it is."""
        said = [cell.setup.recorded for cell in self.of(label) if cell.setup]
        return said[-1] if said else {}

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open the run in a folder.

        Raises
        ------
        ResultsError
            If the folder holds no run, or a damaged one, or one of several points; damaged cells are found when
            they are read.
        """
        info = store.read_info(folder)
        if info.points[1:]:
            raise ResultsError(f"{folder} has {len(info.points)} points, and this takes one")
        return cls(info, folder=folder)

    @classmethod
    def made_of(
        cls, info: RunInfo, attempts: Iterable[CellResult], folder: Path | None, **more: Any
    ) -> Self:
        """Return a run of attempts that were read: those that count, and further ones."""
        run = cls(info, [], folder, **more)
        for cell in attempts:
            (run.cells if cell.final else run.further).append(cell)
        return run

    @classmethod
    def open_some(
        cls, folder: Path, info: RunInfo, backends: Collection[str], index: int | None = None
    ) -> Self:
        """Read the cells of some backends, and no losses: all that many runs are asked for at once.

        ``info`` is that of one point, and ``index`` which it is, where there are several.

        Raises
        ------
        ResultsError
            If a cell is damaged.
        """
        run = cls(info, folder=folder, index=index)
        run._cells, run._further = read(filter(run.has, store.read_cells(folder, only=backends)))
        return run

    def seen(
        self,
        *,
        baseline: str | None = None,
        target: float | None = None,
        backends: Collection[str] = (),
    ) -> Self:
        """Return the same run, looked at in another way. Whether a cell was ok is as it was.

        Parameters
        ----------
        baseline
            The label whose time is 1. None is that of the run.
        target
            The accuracy whose time is asked for, a fraction. None is that of the workload.
        backends
            Labels; the baseline stays beside them. None at all is all of them.

        Raises
        ------
        NnbenchError
            If the run has no backend of such a name, or no accuracy that could reach a target.
        """
        info, point = self.info, self.info.point
        where, known = self.folder or "this run", [*info.backends]
        for name in filter(None, (baseline, *backends)):
            if name not in known:
                text = f"{where} has no backend {name!r}; known: {', '.join(known)}"
                raise NnbenchError(text)
        if target is not None:
            if self.cells and all(metrics.accuracy(cell) is None for cell in self.cells):
                raise NnbenchError(f"{where} has no accuracies that could reach a target")
            point = replace(point, workload=replace(point.workload, target_accuracy=target))
        info = replace(info, baseline=baseline or info.baseline, points=[point])
        chosen = self._with(info, self._cells)
        chosen._further, chosen._warnings = self._further, self._warnings
        if backends:
            chosen._chosen = frozenset({*backends, info.baseline})
            kept = {n: text for n, text in info.backends.items() if n in chosen._chosen}
            chosen.info = replace(info, backends=kept)
            if self._cells is not None:
                chosen._cells = [c for c in self._cells if c.backend in chosen._chosen]
        return chosen

    def _with(self, info: RunInfo, cells: Iterable[CellResult] | None) -> Self:
        """Return the same point, of which something else was asked, or is there."""
        return type(self)(info, cells, self.folder, index=self.index, setting=self.setting)

    def has(self, cell: CellResult) -> bool:
        """Tell whether a cell on disk is of this point, and of a backend that is looked at."""
        is_here = self.index is None or cell.point == self.index
        return is_here and (self._chosen is None or cell.backend in self._chosen)

    def add(self, cell: CellResult) -> None:
        """Take in an attempt that is on disk. Tables are made once, when all cells are there."""
        if cell.block_attempt:  # a first attempt comes in the place of no other
            for known in (self.cells, self.further):
                known[:] = [old for old in known if not store.supersedes(cell, old)]
        if _is_used(cell):
            epochs = [replace(epoch, losses=[]) for epoch in cell.epochs]
            added = self.cells if cell.final else self.further
            added.append(replace(cell, epochs=epochs))

    def before(self, round_: int) -> Run:
        """Return what there is of the rounds before one."""
        early = self._with(self.info, [cell for cell in self.cells if cell.round < round_])
        early._further = [cell for cell in self.further if cell.round < round_]
        return early

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.resolve().name if self.folder else ""

    @property
    def subject(self) -> str:
        """What was trained, as names have it that stay from run to run: with the threads, where points differ in them."""
        name, count = self.info.workload.name, self.setting.get("threads")
        between = "," if DERIVED in name else DERIVED
        return name if count is None else f"{name}{between}threads={count}"

    @property
    def labels(self) -> list[str]:
        """The backends that could run, and whatever has trained all the same, as a record may claim."""
        trained = (name for name, group in self.groups.items() if any(c.steps for c in group.cells))
        return [*dict.fromkeys([*self.info.backends, *trained])]

    @property
    def cells(self) -> list[CellResult]:
        """The attempt at each cell that counts, in the order in which they ran, without its losses."""
        if self._cells is None:
            self._cells, self._further, self._warnings = read_noting(self.attempts())
        return self._cells

    @property
    def further(self) -> list[CellResult]:
        """The baseline's other attempts, beside backends that found no room with its first one."""
        _ = self.cells  # which finds them
        return self._further

    @property
    def warnings(self) -> list[str]:
        """What is wrong with the files, though they can be read."""
        _ = self.cells  # which finds them
        return self._warnings

    def attempts(self) -> Iterator[CellResult]:
        """Yield every attempt at every cell as it is on disk, with the loss of every step."""
        if self.folder is None:
            found: Iterable[CellResult] = self._cells or ()
        else:
            found = store.read_cells(self.folder, warn=self._cells is None)
        yield from filter(self.has, found)

    def losses(self, backends: Collection[str]) -> Iterator[tuple[str, list[float | None]]]:
        """Yield each backend's losses of all steps, cell by cell, from the disk; None is not finite."""
        for cell in self.attempts():
            if cell.final and cell.backend in backends and cell.steps:
                yield cell.backend, cell.losses

    @cached_property
    def groups(self) -> dict[str, Group]:
        """The cells of each backend, round by round: the fastest first, those without a rank last."""
        from nnbench.figures import frames

        return frames.groups(self.info, self.cells, self.further)

    def of(self, backend: str) -> list[CellResult]:
        """Return the cells of one backend, round by round."""
        return self.groups[backend].cells if backend in self.groups else []

    @cached_property
    def kinds(self) -> dict[str, Run]:
        """The run on each kind of machines that has figures, by the kind's name; where there is one, the run itself."""
        from nnbench.figures import machines

        found = machines.kinds(self.info, self.cells)
        if not machines.are_several(self.info, self.cells):
            return dict.fromkeys(found, self)
        return {kind: self.on(names) for kind, names in found.items()}

    @property
    def is_mixed(self) -> bool:
        """Whether its figures are of several kinds of machines."""
        return len(self.kinds) > 1

    @cached_property
    def used(self) -> RunInfo:
        """What was asked, with those machines alone that have figures; with all if none has."""
        from nnbench.figures import machines

        named = chain.from_iterable(machines.kinds(self.info, self.cells).values())
        own = {name: self.info.machines[name] for name in named}
        return replace(self.info, machines=own or self.info.machines)

    def like(self, machine: str) -> Run:
        """Return the run on machines of the same kind as one of them.

        Raises
        ------
        NnbenchError
            If that has no figures.
        """
        parts = [
            part for part in self.kinds.values() if any(c.machine == machine for c in part.cells)
        ]
        if not parts:
            known = ", ".join(dict.fromkeys(c.machine for c in self.cells if c.status.counts))
            text = f"{self.folder} has no figures of a machine {machine!r}; there are: {known or 'none'}"
            raise NnbenchError(text)
        return parts[0]

    def on(self, machines: Sequence[str]) -> Run:
        """Return what ran on some machines."""
        info = replace(self.info, machines={name: self.info.machines[name] for name in machines})
        own = (c for c in self.cells if c.machine in machines and c.status.ran)
        part = Run(info, own, index=self.index, setting=self.setting)
        part._further = [c for c in self.further if c.machine in machines]
        return part

    @cached_property
    def tables(self) -> list[Table]:
        """Every table: of several kinds of machines, what is a machine's own stands in tables of each kind."""
        from nnbench.figures import columns

        if not self.is_mixed:
            made = columns.tables(self.info, self.frame)
        else:
            parts = self.kinds.items()
            own = (columns.of_kind(part.info, part.frame, kind) for kind, part in parts)
            made = [*columns.pooled(self.info, self.frame), *chain.from_iterable(own)]
        return [columns.located(table, self.setting) for table in made]

    @property
    def pairs_table(self) -> Table:
        """The table of every two backends."""
        from nnbench.figures import columns

        table = columns.pairs_table(self.info)._replace(rows=self.pairs)
        return columns.located(table, self.setting)

    @cached_property
    def accuracy(self) -> Frame:
        """The accuracy table: one row for each backend."""
        from nnbench.figures import frames

        return self._located(frames.accuracy(self.info, self.groups))

    def _located(self, frame: Frame) -> Frame:
        """Return rows that say of which point they are, where there are several."""
        return [SimpleNamespace(**{**self.setting, **vars(row)}) for row in frame]

    @cached_property
    def timing(self) -> Frame:
        """The timing table: one row for each backend."""
        from nnbench.figures import frames

        return self._located(frames.timing(self.info, self.groups))

    @cached_property
    def frame(self) -> Frame:
        """Both tables side by side."""
        from nnbench.figures import frames

        return frames.side_by_side(self.accuracy, self.timing)

    def every(self, name: Literal["accuracy", "timing"]) -> Frame:
        """Return a table; of several kinds of machines that of all, and of each, which its ``machine_kind`` names."""
        if not self.is_mixed:
            return self.accuracy if name == "accuracy" else self.timing
        return [
            SimpleNamespace(**vars(row), machine_kind=kind)
            for kind, part in {"": self, **self.kinds}.items()
            for row in (part.accuracy if name == "accuracy" else part.timing)
        ]

    @cached_property
    def pairs(self) -> Frame:
        """Every backend that ranks over each faster one: one row for each two."""
        from nnbench.figures import frames

        return self._located(frames.pairs(self.info, self.groups))

    @cached_property
    def measured(self) -> list[Row]:
        """Rows of both tables that have figures: ranked ones first, each fastest first."""
        return [row for row in self.frame if self.groups[row.backend].times]

    @cached_property
    def ranked(self) -> list[Row]:
        """Rows of both tables that rank, the fastest first, one class of precision after the other."""
        return [row for row in self.measured if not self.groups[row.backend].obstacle]

    @cached_property
    def odd_machines(self) -> list[Odd]:
        """Machines whose blocks lie apart from those of their equals."""
        from nnbench.figures import outliers

        return outliers.find(self.info, self.groups)

    @cached_property
    def strays(self) -> dict[str, Row]:
        """Rows of backends whose accuracy is a finding, by name: right ones do not differ so much."""
        from nnbench.figures.accuracies import FINDINGS

        rows = {row.backend: row for row in self.measured}
        return {name: row for name, row in rows.items() if row.accuracy_verdict in FINDINGS}

    def why_nothing(self) -> str:
        """Say why a run without figures, or without a ranking, has none."""
        if not self.groups:
            return "no cell was finished"
        if not self.measured:
            return "no backend was measured"
        reasons = dict.fromkeys(self.groups[row.backend].obstacle for row in self.measured)
        return f"no backend ranks ({', '.join(reasons)})"


def _is_used(cell: CellResult) -> bool:
    """Tell whether tables are made of an attempt: one in turns has others that trained beside it."""
    return cell.final or cell.took_turns


def read_noting(
    attempts: Iterable[CellResult],
) -> tuple[list[CellResult], list[CellResult], list[str]]:
    """Read as :func:`read` does, and return what is wrong with the file, too, which is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cells, further = read(attempts)
    for warning in caught:
        warnings.warn(warning.message, stacklevel=3)
    return cells, further, [str(warning.message) for warning in caught]


def read(attempts: Iterable[CellResult]) -> tuple[list[CellResult], list[CellResult]]:
    """Read the attempts that count, and those that others trained beside; let go of their losses.

    Nobody else has these yet. Python looks for no circles of garbage meanwhile: in a million records there are
    none, and looking takes long.
    """
    cells: list[CellResult] = []
    further: list[CellResult] = []
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for cell in filter(_is_used, attempts):
            for epoch in cell.epochs:
                epoch.losses.clear()
            (cells if cell.final else further).append(cell)
    finally:
        if was_enabled:
            gc.enable()
    return cells, further
