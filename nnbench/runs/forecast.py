"""What a run will take, said before it: cells, time, memory and disk. Nothing is trained, and nothing written.

What was asked for gives bounds. Estimates come from what the same took in earlier runs on this machine, which are
looked for beside the one to come; without one, of memory and disk from the sizes of the dataset and the network.
"""

from __future__ import annotations

import math
import shutil
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from nnbench.contract.errors import ResultsError
from nnbench.execution import memory
from nnbench.proof import kept
from nnbench.records.cells import Status
from nnbench.runs import schedule, store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from nnbench.execution.executor import Sizes
    from nnbench.records.cells import CellResult
    from nnbench.records.runs import RunInfo
    from nnbench.runs.planning import Plan

LOSS_BYTES = 12.5  #: of a step in ``cells.jsonl``
PART_BYTES = 500  #: of a part
VALUE_BYTES = 4


@dataclass(frozen=True, slots=True)
class Known:
    """What a cell of a backend took in an earlier run, in the median."""

    run: Path
    seconds: float  #: of its processes
    share: float | None  #: times that is what it takes of a block, proof included; None is unknown
    peak_bytes: float | None
    result_bytes: float
    cuts: float
    is_slow: bool  #: whether the budget ended its training


@dataclass(frozen=True)
class Forecast:
    """What a run will take.

    Parameters
    ----------
    info
        The run.
    folder
        Where its results go.
    labels
        The backends that it trains.
    rounds
        That are to be made, at most.
    sizes
        Of what is trained, if the executor knows them.
    known
        What is known of backends, by their labels.
    slots
        Blocks that run at once.
    """

    info: RunInfo
    folder: Path
    labels: Sequence[str]
    rounds: int
    sizes: Sizes | None
    known: dict[str, Known] = field(default_factory=dict)
    slots: int = 1

    def cells(self, label: str) -> int:
        """Return how many cells a backend gets: fewer if the budget stopped it before.

        Blocks that run when it is left out have it.
        """
        known = self.known.get(label)
        is_slow = known and known.is_slow
        return min(self.rounds, schedule.SLOW_ROUNDS + self.slots - 1) if is_slow else self.rounds

    @property
    def most_cells(self) -> int:
        """Of all backends, if none is left out of later rounds."""
        return self.rounds * len(self.labels)

    @property
    def most_training_s(self) -> float:
        """What the budget allows, but for the step in which it ends."""
        return self.most_cells * self.info.budget_s

    @property
    def unknown(self) -> list[str]:
        """The backends of which no earlier run tells."""
        return [label for label in self.labels if label not in self.known]

    @property
    def has_proof(self) -> bool:
        """Whether what is known of time holds the proof, and whatever else comes between cells."""
        return all(each.share is not None for each in self.known.values())

    @property
    def seconds(self) -> float | None:
        """About how long all will take that is known; None if nothing is."""
        if not self.known:
            return None
        one_by_one = sum(self.cells(e) * self.cell_s(e) for e in self.labels if e in self.known)
        return one_by_one * math.ceil(self.rounds / self.slots) / max(1, self.rounds)

    def cell_s(self, label: str) -> float:
        """Return about how long a cell of a backend that is known takes, with its share of the rest."""
        known = self.known[label]
        return known.seconds * (known.share or 1.0)

    @cached_property
    def _memory(self) -> memory.Memory | None:
        if self.sizes is None:
            return None
        counted = memory.Memory(self.sizes.dataset_bytes)
        for label, known in self.known.items():
            if known.peak_bytes:
                counted.expect(label, int(known.peak_bytes))
        return counted

    def needed_bytes(self, labels: Sequence[str]) -> float | None:
        """Return the memory that workers need side by side, as it is counted before they start."""
        return None if self._memory is None else self._memory.needed(labels)

    @property
    def memory_bytes(self) -> float | None:
        """Return what the workers of a block need: all in turns, or the largest."""
        together = [self.labels] if self.info.turns else [[label] for label in self.labels]
        needed = [self.needed_bytes(labels) for labels in together]
        return max((each for each in needed if each is not None), default=None)

    @property
    def results_bytes(self) -> float | None:
        """Return what the cells take on disk."""
        return self._summed((self.cells(e), self._result_bytes(e)) for e in self.labels)

    @property
    def spool_bytes(self) -> float | None:
        """Return what lies there while a block is trained and judged: states, logits, gradients."""
        return self._summed((1, self._spooled_bytes(e)) for e in self.labels)

    @property
    def states_bytes(self) -> float | None:
        """Return what the states that are kept take."""
        if not self.info.keep_states:
            return 0.0
        return self._summed((self.cells(e), self._states_bytes(e)) for e in self.labels)

    @property
    def free_bytes(self) -> int:
        """Of the disk that the folder is on, or will be."""
        there = self.folder.absolute()
        while not there.exists():
            there = there.parent
        return shutil.disk_usage(there).free

    @staticmethod
    def _summed(found: Iterable[tuple[int, float | None]]) -> float | None:
        known = [count * each for count, each in found if each is not None]
        return sum(known) if known else None

    def _cuts(self, label: str, sizes: Sizes) -> float:
        """Return how many cuts a cell has: as many as before, or at least as many as must be."""
        if label in self.known:
            return self.known[label].cuts
        return kept.least_cuts(self.info.workload.epochs, sizes.epoch_steps)

    def _states_bytes(self, label: str) -> float | None:
        if self.sizes is None:
            return None
        has_moments = self.info.workload.optimizer.keeps_moments
        size = kept.cut_size(self.sizes.parameters, has_moments=has_moments)
        return self._cuts(label, self.sizes) * size

    def _spooled_bytes(self, label: str) -> float | None:
        states = self._states_bytes(label)
        if self.sizes is None or states is None:
            return None
        logits = self.info.workload.epochs * self.sizes.logits
        return states + VALUE_BYTES * (logits + self.sizes.parameters)

    def _result_bytes(self, label: str) -> float | None:
        if label in self.known:
            return self.known[label].result_bytes
        if self.sizes is None:
            return None
        steps = self.info.workload.epochs * self.sizes.epoch_steps
        return LOSS_BYTES * steps + PART_BYTES * self._cuts(label, self.sizes)


def foresee(plan: Plan, folder: Path) -> list[Forecast]:
    """Say what each point of a run will take, in a folder that holds none or the same one.

    Raises
    ------
    NnbenchError
        If it could not start: its dataset cannot be loaded, or has changed since it was begun.
    """
    slots, is_begun = max(1, plan.executor.slots), (folder / store.RUN).exists()
    found = []
    for index, point in enumerate(plan.info.points):
        info = plan.info.at(index)
        digest = plan.executor.dataset_sha256(point.workload)
        labels, rounds = list(info.backends), info.rounds
        if is_begun:
            schedule.require_same_dataset(folder, point, digest)
            cells = store.read_cells(folder, warn=False)
            labels, rounds = _left(info, (cell for cell in cells if cell.point == index))
        sizes = plan.executor.sizes(point.workload)
        known = _look_up(info, folder, labels)
        found.append(Forecast(info, folder, labels, rounds, sizes, known, slots))
    return found


def _left(info: RunInfo, cells: Iterable[CellResult]) -> tuple[list[str], int]:
    """Return which backends a run still trains, and in how many rounds; a round is made whole."""
    finished = schedule.finished(cells)
    going, _ = schedule.going_on(info, finished)
    begun = {round_ for round_, _ in finished}
    made = sum(all((round_, label) in finished for label in going) for round_ in begun)
    labels = [label for label in info.backends if label in going]
    return labels, info.rounds - made if labels else 0


def _look_up(info: RunInfo, folder: Path, labels: Sequence[str]) -> dict[str, Known]:
    """Return what the newest earlier run that has a backend tells of it."""
    found: dict[str, Known] = {}
    for earlier in _earlier(info, folder):
        if found.keys() >= set(labels):
            break
        with suppress(ResultsError):  # a damaged one tells nothing
            for label, known in _known(info, earlier).items():
                if label in labels:
                    found.setdefault(label, known)
    return found


class _Earlier(NamedTuple):
    """A point of an earlier run."""

    info: RunInfo
    at: int
    where: Path


def _earlier(info: RunInfo, folder: Path) -> list[_Earlier]:
    """Return the runs beside a folder, and in it, of the same on the same machine; the newest first."""
    here, runs = info.environment.machine_fingerprint, []
    for path in folder.absolute().parent.glob(f"*/{store.RUN}"):
        with suppress(ResultsError):
            runs.append((store.read_info(path.parent), path.parent))
    same = [
        _Earlier(each, index, where)
        for each, where in runs
        for index, point in enumerate(each.points)
        if point.is_same(info.point) and each.environment.machine_fingerprint == here
    ]
    return sorted(same, key=lambda found: found.info.started, reverse=True)


def _known(info: RunInfo, found_in: _Earlier) -> dict[str, Known]:
    earlier, index, where = found_in
    limits = (info.budget_s, info.timeout_s) == (earlier.budget_s, earlier.timeout_s)
    cells = [*_short(c for c in store.read_cells(where, warn=False) if c.point == index)]
    share = _share(cells) if earlier.proof == info.proof else None
    found: dict[str, Known] = {}
    for label in earlier.backends:
        own = [
            each
            for each in cells
            if each.cell.backend == label
            and each.cell.final
            and (limits or each.cell.status is Status.OK)
        ]
        if own:
            peaks = [each.cell.peak_memory_bytes for each in own if each.cell.peak_memory_bytes]
            found[label] = Known(
                run=where,
                seconds=median(each.cell.wall_s for each in own),
                share=share,
                peak_bytes=max(peaks, default=None),
                result_bytes=median(each.size for each in own),
                cuts=median(each.cuts for each in own),
                is_slow=any(each.cell.status is Status.BUDGET for each in own),
            )
    return found


@dataclass(frozen=True, slots=True)
class _Cell:
    """What is wanted of a cell, without its losses and parts."""

    cell: CellResult
    size: int  #: bytes
    cuts: int


def _short(cells: Iterable[CellResult]) -> Iterator[_Cell]:
    for cell in cells:
        if cell.status.ran:
            parts = [part for epoch in cell.epochs for part in epoch.parts]
            size, cuts = len(msgspec.json.encode(cell)), sum(p.state is not None for p in parts)
            yield _Cell(replace(cell, epochs=[]), size, cuts)


def _share(cells: Sequence[_Cell]) -> float | None:
    """Return how much longer blocks took than their cells ran; None if that was not written down, or cannot be."""
    blocks: dict[tuple[int, int], list[CellResult]] = defaultdict(list)
    for each in cells:
        blocks[each.cell.round, each.cell.block_attempt].append(each.cell)
    if not blocks or not all(each.cell.recorded for each in cells):
        return None
    try:
        took = sum(
            _seconds(max(c.recorded for c in block)) - _seconds(min(c.started for c in block))
            for block in blocks.values()
        )
    except ValueError:  # a text that is no time
        return None
    ran = sum(each.cell.wall_s for each in cells)
    return max(1.0, took / ran) if math.isfinite(ran) and ran > 0 else None


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()
