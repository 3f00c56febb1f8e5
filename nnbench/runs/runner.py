"""Run the blocks: in each, every backend once, with the same seed, in a random order."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from nnbench import catalog
from nnbench.data import seeding
from nnbench.data.datasets import digest
from nnbench.data.task import load_splits, make_task
from nnbench.execution import environment
from nnbench.proof import evaluation
from nnbench.records import CellResult, CellSpec, Status
from nnbench.runs import attempts, lock, results
from nnbench.runs.resuming import check_dataset, finished

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nnbench.data.datasets import Splits
    from nnbench.records import Event, RunInfo
    from nnbench.selection import Selection

SLOW_ROUNDS = 3  #: blocks of a backend that the budget stops before its training is complete


class Display(Protocol):
    """Shows a run to whoever is waiting for it."""

    def cell_started(self, spec: CellSpec) -> None:
        """Show that a cell is about to start."""

    def cell_event(self, event: Event) -> None:
        """Show what its worker has sent."""

    def cell_finished(self, result: CellResult) -> None:
        """Show what became of it; it is on disk."""

    def cell_kept(self, result: CellResult) -> None:
        """Show that a cell was finished before the run was resumed."""


def run(info: RunInfo, selections: Sequence[Selection], folder: Path, display: Display) -> None:
    """Run every cell, in a folder without a run, and write each result as it comes.

    Whoever interrupts this (KeyboardInterrupt) finds the cells finished by then in ``folder``.
    """
    splits = load_splits(info.workload)
    info = replace(info, dataset_sha256=digest(splits))
    with lock.hold(folder):
        results.create(folder, info)
        _run_blocks(info, selections, splits, folder, display)


def resume(info: RunInfo, selections: Sequence[Selection], folder: Path, display: Display) -> None:
    """Run the cells that are missing in ``folder``, whose run is that of ``info``."""
    splits = load_splits(info.workload)
    check_dataset(folder, info, splits)
    with lock.hold(folder):
        results.mend(folder)
        _run_blocks(info, selections, splits, folder, display)


def _run_blocks(
    info: RunInfo,
    selections: Sequence[Selection],
    splits: Splits,
    folder: Path,
    display: Display,
) -> None:
    kept = finished(results.read_cells(folder))
    catalog.notify("nnbench_run_started", run=info, folder=folder)
    for label, reason in info.unavailable.items():
        if (0, label) not in kept:
            _record(_skipped(info, label, reason), folder, display)
    remaining = {s.label: s for s in selections if s.label not in info.unavailable}
    for round_ in range(info.rounds):
        for result in _block(info, round_, splits, remaining, kept, display):
            if (round_, result.backend) in kept:
                display.cell_kept(result)
            else:
                _record(result, folder, display)
            if _has_had_enough(result, remaining[result.backend]):
                del remaining[result.backend]


def _has_had_enough(result: CellResult, selection: Selection) -> bool:
    """Tell whether a backend runs in no further block: it can't, or it is too slow for more.

    Variants of one backend are there to be compared, and need all their pairs.
    """
    if selection.variant:
        return result.status is Status.SKIPPED
    is_slow = result.status is Status.BUDGET and result.final
    return result.status is Status.SKIPPED or (is_slow and result.round + 1 >= SLOW_ROUNDS)


def _block(
    info: RunInfo,
    round_: int,
    splits: Splits,
    selections: dict[str, Selection],
    kept: dict[tuple[int, str], CellResult],
    display: Display,
) -> Iterator[CellResult]:
    seed = info.seed + round_
    expected = evaluation.expected_losses(make_task(info.workload, splits, seed))
    for position, label in enumerate(seeding.block_order(list(selections), seed)):
        if (round_, label) in kept:
            yield kept[round_, label]
            continue
        spec = _spec(info, selections[label], round_)
        yield from attempts.run(spec, position, expected, display)


def _spec(info: RunInfo, selection: Selection, round_: int) -> CellSpec:
    threads = selection.threads or info.threads
    return CellSpec(
        label=selection.label,
        backend=selection.backend.name,
        options=selection.options,
        handicap=selection.handicap,
        workload=info.workload,
        round=round_,
        seed=info.seed + round_,
        threads=threads,
        # The last CPUs: the first ones serve most interrupts, and this process.
        cpus=tuple(environment.usable_cpus()[-threads:]),
        budget_s=info.budget_s,
        timeout_s=info.timeout_s,
        python=selection.python,
    )


def _skipped(info: RunInfo, label: str, reason: str) -> CellResult:
    return CellResult(
        backend=label,
        workload=info.workload.name,
        round=0,
        seed=info.seed,
        threads=info.threads,
        position=0,
        started=results.now(),
        wall_s=0.0,
        status=Status.SKIPPED,
        message=reason,
    )


def _record(result: CellResult, folder: Path, display: Display) -> None:
    results.append(folder, result)
    display.cell_finished(result)
    catalog.notify("nnbench_cell_finished", result=result)
