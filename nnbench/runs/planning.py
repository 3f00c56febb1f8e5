"""Check what the user asked for, before anything runs, and write it down; or take up an old plan."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

from nnbench import selection
from nnbench.config import points
from nnbench.config.axes import Axes
from nnbench.contract import DISTRIBUTION
from nnbench.contract.errors import NnbenchError, ResultsError
from nnbench.execution import executor as executors
from nnbench.execution import remote
from nnbench.execution.machine import MachineWarning
from nnbench.proof import kept
from nnbench.records.cells import LOCAL, now
from nnbench.records.runs import OWN_NAMES, RunInfo, unavailable_on_all
from nnbench.runs import store

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from nnbench.data.workloads import Workload
    from nnbench.execution.executor import Executor
    from nnbench.records.cells import ProofMode
    from nnbench.records.runs import Entry, Environment, Machine
    from nnbench.selection import Selection


NONE = Axes()


class ResumeWarning(UserWarning):
    """A run goes on with something changed that should not matter."""


class Plan(NamedTuple):
    """What is to run, and where."""

    info: RunInfo
    entries: list[Entry]
    executor: Executor


def plan(*, backends: Sequence[str], **asked: Any) -> Plan:
    """Return the run that the options of ``nnbench run`` ask for.

    ``asked`` is what :func:`make` takes.

    Raises
    ------
    NnbenchError
        As :func:`make`, and if verdicts are wanted of a run that leaves no ranks.
    """
    if asked.get("detect") and asked.get("proof") == "off":
        raise NnbenchError("--detect needs a proof: --proof off leaves no ranks, and no verdicts")
    return make([(each.entry, each) for each in selection.parse(backends)], **asked)


def make(
    choices: Sequence[tuple[Entry, Selection]],
    *,
    command: str,
    workload: str | Workload,
    overrides: Mapping[str, object],
    axes: Axes = NONE,
    rounds: int,
    seed: int | None,
    threads: int,
    budget: float,
    timeout: float,
    baseline: str | None,
    roofline: bool = False,
    executor: str = LOCAL,
    proof: ProofMode = "sampled",
    keep_states: bool = False,
    require_proof: bool = False,
    require_all: bool = False,
    detect: float | None = None,
    whole: bool = False,
) -> Plan:
    """Return the plan of a run; its ``choices`` are entries, with what they were selected from.

    ``axes`` has what ``workload``, ``overrides`` and ``threads`` would, with several values: each combination is a point.

    Raises
    ------
    NnbenchError
        If a name is unknown, a named backend is unavailable, there are too few CPUs, a proof is
        required of a run without, or a difference is to be found that the machine cannot see.
    """
    if require_proof and proof == "off":
        raise NnbenchError("--require-proof needs a proof, and --proof off makes none")
    made = points.make(workload, overrides, threads, axes)
    most = max(point.threads for point in made)
    entries = [entry for entry, _ in choices]
    libraries = {name for _, selected in choices for name in selected.backend.libraries}
    chosen = remote.find(executor)
    machines = chosen.machines(entries, most, libraries)
    unavailable = unavailable_on_all(machines)
    required = [entry.label for entry, selected in choices if selected.named]
    selection.refuse_unavailable(required, unavailable)
    summaries = {entry.label: selected.backend.summary for entry, selected in choices}
    labels = {label: text for label, text in summaries.items() if label not in unavailable}
    baseline = choose_baseline(baseline, labels)
    if keep_states and executor != LOCAL:
        for point in made:
            refuse_states(chosen, point.workload, len(labels))
    warn(machines)
    if roofline:
        machines = chosen.with_roofs(machines, entries, {point.threads for point in made})
    info = RunInfo(
        started=now(),
        command=command,
        points=made,
        backends=labels,
        plugins=_origins([entry for entry in entries if entry.label in labels]),
        required=required,
        baseline=baseline,
        rounds=rounds,
        seed=seed,
        proof=proof,
        keep_states=keep_states,
        require_proof=require_proof,
        require_all=require_all,
        detect=detect,
        turns=not whole,
        budget_s=budget,
        timeout_s=timeout,
        executor=executor,
        machines=machines,
    )
    if detect is not None and info.noise_floor >= detect:
        floor = f"the noise floor of this machine is {info.noise_floor:.1%}"
        raise NnbenchError(f"--detect must be above it: {floor}, as nnbench selftest measures it")
    return Plan(info, entries, chosen)


def refuse_states(executor: Executor, workload: Workload, backends: int) -> None:
    """Refuse to keep states that are too large to be brought from other machines, by the least that they can be."""
    sizes, has_moments = executor.sizes(workload), workload.optimizer.keeps_moments
    size = kept.cut_size(sizes.parameters, has_moments=has_moments)
    least = backends * size * kept.least_cuts(workload.epochs, sizes.epoch_steps)
    if least > kept.MOST_BROUGHT:
        text = f"the states of a block have {least >> 20:,} MiB or more"
        most = f"{kept.MOST_BROUGHT >> 20} MiB at most come from other machines"
        raise NnbenchError(
            f"--keep-states: {text}, and {most}: use --executor local, or fewer backends"
        )


def resume(folder: Path) -> Plan:
    """Return the run that ``folder`` holds, to go on exactly as it was planned, if need be on another machine.

    Raises
    ------
    NnbenchError
        If there is none, or it cannot go on here, because a version or the availability of a backend has changed.
    """
    info = store.read_info(folder)
    if any("@" in label for label in info.backends):
        raise ResultsError(f"{folder} holds a selftest or a continuous run; start it again")
    entries = [each.entry for each in selection.parse(info.backends)]
    executor = remote.find(info.executor)
    machines = executor.machines(entries, info.most_threads, info.environment.versions)
    for name, machine in machines.items():
        if name in info.machines:
            check_environment(folder, info.machines[name].environment, machine.environment)
    executor.known = info.machines
    selection.refuse_unavailable(info.backends, unavailable_on_all(machines))
    for label, here in _origins(entries).items():
        before = info.plugins.get(label, here)
        is_own = {each.rpartition(" ")[0] for each in (before, here)} <= {*OWN_NAMES}
        if before != here and not is_own:  # of nnbench itself, there is a warning already
            text = f"{label} was started with {before}, and goes on with {here}"
            warnings.warn(text, ResumeWarning, stacklevel=2)
    warn(machines)
    return Plan(info, entries, executor)


def _origins(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the distribution and version of the plugin of each entry, by its label."""
    return {each.label: text for each in entries if (text := executors.origin(each))}


def check_environment(folder: Path, before: Environment, here: Environment) -> None:
    """Refuse other versions, which ratios are of; warn of another machine, and of another nnbench."""
    hardware, software = before.differences(here)
    system = [text for text in software if text.startswith("system (")]
    own = (text for text in software if text.startswith(f"{DISTRIBUTION} ("))
    if versions := [text for text in software if text not in {*system, *own}]:
        text = f"versions changed, {', '.join(versions)}; ratios must not mix"
        raise ResultsError(f"{folder} cannot be resumed: {text}")
    if hardware or system:
        changed = ", ".join([*hardware, *system])
        text = f"{folder} goes on on another machine, {changed}: its times are kept apart"
        warnings.warn(text, ResumeWarning, stacklevel=2)
    was, is_now = _own_version(before), _own_version(here)
    if was != is_now:
        text = f"{folder} was started with {was}, and goes on with {is_now}"
        warnings.warn(text, ResumeWarning, stacklevel=2)


def _own_version(environment: Environment) -> str:
    found = environment.versions
    version = next((found[name] for name in OWN_NAMES if name in found), None)
    return f"nnbench {version} in a folder at {environment.git or 'no commit'}"


def warn(machines: Mapping[str, Machine]) -> None:
    """Warn of everything that may spoil times."""
    for text in dict.fromkeys(text for machine in machines.values() for text in machine.warnings):
        names = [name for name, machine in machines.items() if text in machine.warnings]
        others = f" and {len(names) - 1} more" if names[1:] else ""
        where = "machine" if names == [LOCAL] else f"machine {names[0]}{others}"
        warnings.warn(f"{where}: {text}", MachineWarning, stacklevel=2)


def choose_baseline(wanted: str | None, labels: Collection[str]) -> str:
    """Return the baseline: the one that is wanted, else numpy, else the first."""
    if wanted is None:
        return "numpy" if "numpy" in labels else next(iter(labels), "numpy")
    if wanted not in labels:
        raise NnbenchError(f"baseline {wanted!r} is not among the backends of this run")
    return wanted
