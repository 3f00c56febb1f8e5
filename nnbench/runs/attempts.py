"""Run one cell, and run it again if it was disturbed."""

from __future__ import annotations

from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from nnbench.execution import disturbance, gpu, guards, process
from nnbench.proof import judge
from nnbench.records import CellResult
from nnbench.runs import results

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nnbench.execution.process import Outcome
    from nnbench.proof.evaluation import Expected
    from nnbench.records import CellSpec, Event
    from nnbench.runs.runner import Display


def run(
    spec: CellSpec, position: int, expected: Expected, display: Display
) -> Iterator[CellResult]:
    """Yield every attempt at a cell, judged, before the next one starts; the last is final."""
    for attempt in range(disturbance.REPEATS + 1):
        display.cell_started(spec)
        result = disturbance.mark(_run_once(spec, position, expected, display), attempt)
        yield replace(result, flags=guards.flags(result))
        if result.final:
            return


def _run_once(spec: CellSpec, position: int, expected: Expected, display: Display) -> CellResult:
    sampler = gpu.Sampler()

    def on_event(event: Event) -> None:
        sampler(event)
        display.cell_event(event)

    started, start = results.now(), monotonic()
    outcome = process.run_worker(spec, on_event)
    result = _collect(spec, outcome, position, started, monotonic() - start)
    result = guards.measure_speed(replace(result, gpu=sampler.samples), spec)
    return judge.judge(result, expected, spec.workload.target_accuracy)


def _collect(
    spec: CellSpec, outcome: Outcome, position: int, started: str, wall_s: float
) -> CellResult:
    assert outcome.status  # noqa: S101 - set by every path of run_worker
    finished = outcome.finished
    return CellResult(
        backend=spec.label,
        workload=spec.workload.name,
        round=spec.round,
        seed=spec.seed,
        threads=spec.threads,
        position=position,
        started=started,
        wall_s=wall_s,
        status=outcome.status,
        message=outcome.message,
        setup=outcome.setup,
        epochs=outcome.epochs,
        phases=finished.phases if finished else None,
        peak_memory_bytes=finished.peak_memory_bytes if finished else None,
        complete=bool(finished and finished.complete),
        changed=finished.changed if finished else None,
        output=outcome.output,
    )
