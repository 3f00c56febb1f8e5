"""Run the blocks: in each, every backend once, with the same seed, in a random order."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Protocol

from nnbench import environment, evaluation, judge, process, registry, results, seeding
from nnbench.cell import CellResult, CellSpec
from nnbench.preparation import load_splits, make_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from nnbench.cell import Event
    from nnbench.datasets import Splits
    from nnbench.evaluation import Expected
    from nnbench.results import RunInfo
    from nnbench.selection import Selection


class Display(Protocol):
    """Shows a run to whoever is waiting for it."""

    def cell_started(self, spec: CellSpec) -> None:
        """Show that a cell is about to start."""

    def cell_event(self, event: Event) -> None:
        """Show what its worker has sent."""

    def cell_finished(self, result: CellResult) -> None:
        """Show what became of it; it is on disk."""


def run(info: RunInfo, selections: Sequence[Selection], folder: Path, display: Display) -> None:
    """Run every cell and write each result as it comes.

    Whoever interrupts this (KeyboardInterrupt) finds the cells finished by then in ``folder``.
    """
    splits = load_splits(info.workload)
    results.create(folder, info)
    registry.notify("nnbench_run_started", run=info, folder=folder)
    for label, reason in info.unavailable.items():
        _record(_skipped(info, label, reason), folder, display)
    remaining = {s.label: s for s in selections if s.label not in info.unavailable}
    for round_ in range(info.rounds):
        for result in _block(info, round_, splits, remaining, display):
            _record(result, folder, display)
            if result.status == "skipped":
                del remaining[result.backend]


def _block(
    info: RunInfo,
    round_: int,
    splits: Splits,
    selections: dict[str, Selection],
    display: Display,
) -> Iterator[CellResult]:
    seed = info.seed + round_
    expected = evaluation.expected_losses(make_task(info.workload, splits, seed))
    for position, label in enumerate(seeding.block_order(list(selections), seed)):
        spec = _spec(info, selections[label], round_)
        display.cell_started(spec)
        yield _run_cell(spec, position, expected, display.cell_event)


def _spec(info: RunInfo, selection: Selection, round_: int) -> CellSpec:
    threads = selection.threads or info.threads
    return CellSpec(
        label=selection.label,
        backend=selection.backend.name,
        options=selection.options,
        workload=info.workload,
        round=round_,
        seed=info.seed + round_,
        threads=threads,
        # The last CPUs: the first ones serve most interrupts, and this process.
        cpus=tuple(environment.usable_cpus()[-threads:]),
        budget_s=info.budget_s,
        timeout_s=info.timeout_s,
    )


def _run_cell(
    spec: CellSpec, position: int, expected: Expected, on_event: Callable[[Event], None]
) -> CellResult:
    started, start = results.now(), monotonic()
    outcome = process.run_worker(spec, on_event)
    assert outcome.status  # noqa: S101 - set by every path of run_worker
    finished = outcome.finished
    result = CellResult(
        backend=spec.label,
        workload=spec.workload.name,
        round=spec.round,
        seed=spec.seed,
        threads=spec.threads,
        position=position,
        started=started,
        wall_s=monotonic() - start,
        status=outcome.status,
        message=outcome.message,
        setup=outcome.setup,
        epochs=outcome.epochs,
        phases=finished.phases if finished else None,
        peak_memory_bytes=finished.peak_memory_bytes if finished else None,
        complete=bool(finished and finished.complete),
        output=outcome.output,
    )
    return judge.judge(result, expected, spec.workload.target_accuracy)


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
        status="skipped",
        message=reason,
    )


def _record(result: CellResult, folder: Path, display: Display) -> None:
    results.append(folder, result)
    display.cell_finished(result)
    registry.notify("nnbench_cell_finished", result=result)
