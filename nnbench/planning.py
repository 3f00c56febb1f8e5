"""Check what the user asked for, before anything runs, and write it down as a RunInfo."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nnbench import environment, registry, results, selection, workloads
from nnbench.errors import BackendUnavailableError, NnbenchError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from nnbench.results import RunInfo
    from nnbench.selection import Selection


def plan(
    *,
    command: str,
    backends: Sequence[str],
    workload: str,
    overrides: Mapping[str, object],
    rounds: int,
    seed: int,
    threads: int,
    budget: float,
    timeout: float,
    baseline: str | None,
) -> tuple[RunInfo, list[Selection]]:
    """Return the run that the options of ``nnbench run`` describe, and its backends.

    Raises
    ------
    NnbenchError
        If a name is unknown, a named backend is unavailable, or there are too few CPUs.
    """
    selections = selection.parse(backends)
    unavailable = find_unavailable(selections)
    check_threads(max([threads, *(s.threads or 0 for s in selections)]))
    labels = {s.label: s.backend.summary for s in selections if s.label not in unavailable}
    libraries = {name for s in selections for name in s.backend.libraries}
    chosen = registry.find("workload", workload, registry.workloads())
    info = results.RunInfo(
        started=results.now(),
        command=command,
        workload=workloads.derive(chosen, overrides),
        backends=labels,
        unavailable=unavailable,
        baseline=choose_baseline(baseline, labels),
        rounds=rounds,
        seed=seed,
        threads=threads,
        budget_s=budget,
        timeout_s=timeout,
        environment=environment.describe(libraries),
    )
    return info, selections


def find_unavailable(selections: Sequence[Selection]) -> dict[str, str]:
    """Return why backends can't run here; one that was named is an error."""
    reasons = {
        s.label: reason for s in selections if (reason := registry.why_unavailable(s.backend))
    }
    for chosen in selections:
        if chosen.named and chosen.label in reasons:
            reason = reasons[chosen.label]
            raise BackendUnavailableError(f"{chosen.label} is unavailable: {reason}")
    return reasons


def check_threads(threads: int) -> None:
    """Refuse more threads than there are CPUs to run them."""
    usable = len(environment.usable_cpus())
    if usable and threads > usable:
        raise NnbenchError(f"{threads} threads are more than the {usable} CPUs nnbench may use")


def choose_baseline(wanted: str | None, labels: Collection[str]) -> str:
    """Return the baseline: the one that is wanted, else numpy, else the first."""
    if wanted is None:
        return "numpy" if "numpy" in labels else next(iter(labels), "numpy")
    if wanted not in labels:
        raise NnbenchError(f"baseline {wanted!r} is not among the backends of this run")
    return wanted
