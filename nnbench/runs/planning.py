"""Check what the user asked for, before anything runs, and write it down as a RunInfo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nnbench import catalog, selection
from nnbench.config import files
from nnbench.contract.errors import BackendUnavailableError, NnbenchError
from nnbench.data import workloads
from nnbench.execution import environment, floors, machine
from nnbench.records import LOCAL, Machine, Point, RunInfo
from nnbench.runs import results

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nnbench.data.workloads import Workload
    from nnbench.records import Environment, Roof
    from nnbench.selection import Selection


def plan(*, backends: Sequence[str], **asked: Any) -> tuple[RunInfo, list[Selection]]:
    """Return the run that the options of ``nnbench run`` describe, and its backends.

    ``asked`` is what :func:`describe` takes.
    """
    selections = selection.parse(backends)
    return describe(selections, **asked), selections


def describe(
    selections: Sequence[Selection],
    *,
    command: str,
    workload: str | Workload,
    overrides: Mapping[str, object],
    rounds: int,
    seed: int,
    threads: int,
    budget: float,
    timeout: float,
    baseline: str | None,
    roofline: bool = False,
) -> RunInfo:
    """Return what a run of some backends will be.

    Raises
    ------
    NnbenchError
        If a name is unknown, a named backend is unavailable, or there are too few CPUs.
    """
    unavailable = find_unavailable(selections)
    available = [s for s in selections if s.label not in unavailable]
    warnings = check_machine(available, threads)
    labels = {s.label: s.backend.summary for s in available}
    libraries = {name for s in selections for name in s.backend.libraries}
    chosen = files.find_workload(workload) if isinstance(workload, str) else workload
    here = environment.describe(libraries)
    return RunInfo(
        started=results.now(),
        command=command,
        points=[Point(workload=workloads.derive(chosen, overrides), threads=threads)],
        backends=labels,
        required=[s.label for s in selections if s.named],
        baseline=choose_baseline(baseline, labels),
        rounds=rounds,
        seed=seed,
        budget_s=budget,
        timeout_s=timeout,
        machines={
            LOCAL: Machine(
                environment=here,
                noise_floor=floors.load(here),
                warnings=warnings,
                roofs=find_roofs(here, available, threads) if roofline else [],
                unavailable=unavailable,
            )
        },
    )


def find_unavailable(selections: Sequence[Selection]) -> dict[str, str]:
    """Return why backends can't run here; one that was named is an error."""
    reasons = {
        s.label: reason for s in selections if (reason := catalog.why_unavailable(s.backend))
    }
    for chosen in selections:
        if chosen.named and chosen.label in reasons:
            reason = reasons[chosen.label]
            raise BackendUnavailableError(f"{chosen.label} is unavailable: {reason}")
    return reasons


def check_machine(selections: Sequence[Selection], threads: int) -> list[str]:
    """Refuse more threads than there are CPUs; warn of what may spoil the run, and return it."""
    cpus = environment.usable_cpus()
    most = max([threads, *(s.threads or 0 for s in selections)])
    if cpus and most > len(cpus):
        raise NnbenchError(f"{most} threads are more than the {len(cpus)} CPUs nnbench may use")
    uses_gpu = any(s.backend.device == "cuda" for s in selections)
    return machine.warn(cpus, most, uses_gpu=uses_gpu)


def find_roofs(here: Environment, selections: Sequence[Selection], threads: int) -> list[Roof]:
    """Return the ceilings of what the backends run on."""
    from nnbench.execution import roofline

    devices = {s.backend.device for s in selections}
    return roofline.find(here, devices, [s.threads or threads for s in selections])


def choose_baseline(wanted: str | None, labels: Collection[str]) -> str:
    """Return the baseline: the one that is wanted, else numpy, else the first."""
    if wanted is None:
        return "numpy" if "numpy" in labels else next(iter(labels), "numpy")
    if wanted not in labels:
        raise NnbenchError(f"baseline {wanted!r} is not among the backends of this run")
    return wanted
