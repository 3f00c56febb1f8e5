"""Plan and judge a run of the same backends in two environments, paired block by block.

The environments are called base and head, and so are the variants in the tables: ``numpy@base``.
The cells of both are shuffled together, so whatever slows the machine down hits both alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, assert_never

from nnbench import selection
from nnbench.config import files
from nnbench.contract.errors import BackendUnavailableError, ConfigError, NnbenchError
from nnbench.figures import accuracies, statistics
from nnbench.figures.metrics import TRAINING, Gate, Scale
from nnbench.runs import comparison, detection, planning
from nnbench.runs.comparison import Samples
from nnbench.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nnbench.execution.interpreters import Interpreter
    from nnbench.figures.metrics import Metric
    from nnbench.records import CellResult, Environment
    from nnbench.runs.comparison import Change
    from nnbench.runs.planning import Plan

BASE, HEAD = "base", "head"


def check_workload(name: str) -> None:
    """Refuse a workload that this process does not know, before anything is built.

    Raises
    ------
    NnbenchError
        If it is not registered here.
    """
    try:
        files.find_workload(name)
    except ConfigError:
        raise
    except NnbenchError as error:
        hint = "a workload of your own must be installed here too, for the reference losses"
        raise NnbenchError(f"{error}; {hint}") from error


def plan(sides: tuple[Interpreter, Interpreter], *, backends: Sequence[str], **asked: Any) -> Plan:
    """Return the run of two environments, base and head, with the backends in each of them.

    ``asked`` is what :func:`nnbench.runs.planning.make` takes, but for the baseline.

    Raises
    ------
    NnbenchError
        If a name is unknown in both environments, or a named backend is unavailable in both.
    """
    base, head = sides
    known = {**base.backends, **head.backends}
    chosen = selection.parse(backends, dict(sorted(known.items())))
    plan = planning.make(
        [
            (each.entry.as_variant(name, python=side.python), replace(each, named=False))
            for each in chosen
            for name, side in zip((BASE, HEAD), sides, strict=True)
        ],
        baseline=None,
        **asked,
    )
    for each in chosen:
        label = f"{each.label}@{HEAD}"
        if each.named and {label, f"{each.label}@{BASE}"} <= plan.info.unavailable.keys():
            reason = plan.info.unavailable[label]
            raise BackendUnavailableError(f"{each.label} is unavailable: {reason}")
    software = merge(base.environment, head.environment)
    machines = {
        name: replace(machine, environment=replace(machine.environment, **software))
        for name, machine in plan.info.machines.items()
    }
    return plan._replace(info=replace(plan.info, machines=machines))


def merge(base: Environment, head: Environment) -> dict[str, Any]:
    """Return the Python and the versions of both; where they differ, with the side's name."""
    versions: dict[str, str] = {}
    before, after = base.packages, head.packages
    for name in sorted({*before, *after}):
        one, other = before.get(name), after.get(name)
        found = {name: one} if one == other else {f"{name}@{BASE}": one, f"{name}@{HEAD}": other}
        versions |= {key: version for key, version in found.items() if version}
    return {"python": " and ".join(dict.fromkeys([base.python, head.python])), "versions": versions}


def compare(run: Run, gates: Sequence[Gate], floor: float) -> list[Change]:
    """Compare head with base in every gated figure, paired by round."""
    return comparison.find_changes(*sides(run), gates, floor, paired, run.info.detect)


def is_over(run: Run) -> bool:
    """Tell whether each backend's times have a verdict; before the first block none has."""
    changes = compare(run, [Gate(TRAINING, 0)], run.info.noise_floor)
    return detection.has_begun(run) and all(c.verdict != "inconclusive" for c in changes)


def sides(run: Run) -> tuple[Run, Run]:
    """Return the parts of base and head."""
    return side(run, BASE), side(run, HEAD)


def side(run: Run, name: str) -> Run:
    """Return one environment's part of a run, under the names of its own: what :func:`plan` merged."""
    end = f"@{name}"
    software = _part(run.info.environment, end)
    machines = {
        key: replace(machine, environment=replace(machine.environment, **software))
        for key, machine in run.info.machines.items()
    }
    every = {**run.info.backends, **run.info.unavailable}
    labels = {k.removesuffix(end): v for k, v in every.items() if k.endswith(end)}
    cells = [c for c in run.cells if c.backend.endswith(end)]
    own = [replace(c, backend=c.backend.removesuffix(end)) for c in cells]
    return Run(replace(run.info, backends=labels, machines=machines), own)


def _part(environment: Environment, end: str) -> dict[str, Any]:
    """Return the Python and the versions of one side, from those of both."""
    own = {
        name.removesuffix(end): text
        for name, text in environment.versions.items()
        if "@" not in name or name.endswith(end)
    }
    pythons = environment.python.split(" and ")
    return {"python": pythons[0 if end == f"@{BASE}" else -1], "versions": own}


def paired(base: Run, head: Run, backend: str, metric: Metric) -> Samples:
    """Return the values of the rounds that were measured on both sides.

    Accuracies are those of all rounds, and held against each other where both saw as many images.
    """
    before, after = (
        {c.round: c for c in run.of(backend) if c.status.counts} for run in (base, head)
    )
    cells = [(before[i], after[i]) for i in sorted(before.keys() & after.keys())]
    match metric.scale:
        case Scale.RATIO:
            logs = [
                (pair, log) for pair in cells if (log := metric.log_ratio(*pair[::-1])) is not None
            ]
            detect = head.info.detect if metric is TRAINING else None
            interval = None
            if logs:
                interval = statistics.compare([log for _, log in logs], detect=detect).interval
            return Samples(*_values(metric, [pair for pair, _ in logs]), interval)
        case Scale.DIFFERENCE if not cells:
            return Samples([], [], None)
        case Scale.DIFFERENCE:
            found = accuracies.compare(
                accuracies.pair([b for _, b in cells], [a for a, _ in cells])
            )
            return comparison.accuracy_samples(before.values(), after.values(), found)
        case unknown:
            assert_never(unknown)


def _values(
    metric: Metric, cells: Sequence[tuple[CellResult, CellResult]]
) -> tuple[list[float], list[float]]:
    """Return the figures of both sides, of the pairs that have them."""
    pairs = [(metric.value(a), metric.value(b)) for a, b in cells]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return [a for a, _ in known], [b for _, b in known]
