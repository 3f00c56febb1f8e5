"""Plan and judge a run of the same backends in two environments, paired block by block.

The environments are called base and head, and so are the variants in the tables: ``numpy@base``.
The cells of both are shuffled together, so whatever slows the machine down hits both alike.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, assert_never

import numpy as np

from nnbench import selection
from nnbench.config import files
from nnbench.contract.errors import BackendUnavailableError, ConfigError, NnbenchError
from nnbench.figures import accuracies, statistics
from nnbench.figures.metrics import TRAINING, Gate, Scale
from nnbench.runs import comparison, detection, planning, schedule
from nnbench.runs.comparison import Outcome, Samples
from nnbench.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from nnbench.execution.interpreters import Interpreter
    from nnbench.figures.metrics import Metric
    from nnbench.records.cells import CellResult
    from nnbench.records.runs import Environment
    from nnbench.runs.comparison import Change
    from nnbench.runs.planning import Plan
    from nnbench.runs.times import Times

BASE, HEAD = "base", "head"
FEWEST_ROUNDS = 4  #: that an interval takes which always holds
MOST_ROUNDS = 30
ROUNDS = 10  #: where no ratio has a limit
SECONDS = 600.0  #: since its start, after which a run ends no round, unless it asks for more


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


def most_rounds(gates: Sequence[Gate]) -> int:
    """Return after how many rounds a run ends that goes on as its limits ask for."""
    return MOST_ROUNDS if _ratios(gates) else ROUNDS


def paced(plan: Plan, gates: Sequence[Gate]) -> Plan:
    """Return a run that looks at its ratios after each block: their intervals have to hold whenever it ends."""
    ratios = _ratios(gates)
    if not ratios:
        return plan
    training = [gate for gate in ratios if gate.metric is TRAINING]
    limit = max((training or ratios)[0].threshold, plan.info.noise_floor)
    return plan._replace(info=replace(plan.info, detect=min(limit, 1.0)))


def _ratios(gates: Sequence[Gate]) -> list[Gate]:
    return [gate for gate in gates if gate.metric.scale is Scale.RATIO]


class Outlook(NamedTuple):
    """What a run that goes on knows of the rounds that are to come."""

    rounds: int  #: that are made
    round_s: float  #: one takes
    fits: int  #: in all
    slots: int  #: rounds that are made at once
    #: of the logarithm of a pair's ratio, for the backend whose varies most; of four pairs on
    stdev: float | None


class Pace:
    """Ends a run when its time is up, or all limits on ratios are known to be kept or broken.

    Parameters
    ----------
    gates
        All limits. Those on accuracies end nothing: their intervals hold for a number of rounds that
        does not depend on them.
    seconds
        From now on, after which no round shall end.
    tell
        Called after the first round, and after the fewest, with what is to come.
    """

    def __init__(
        self, gates: Sequence[Gate], seconds: float, tell: Callable[[Outlook], object]
    ) -> None:
        self.gates, self.tell = _ratios(gates), tell
        self.time = schedule.TimeLimit(seconds, FEWEST_ROUNDS)
        self._to_tell = [1, FEWEST_ROUNDS]  # after how many rounds

    def __call__(self, run: Run, times: Times) -> bool:
        """Tell whether there are enough rounds; asked before each."""
        rounds = len({cell.round for cell in run.cells if cell.status.ran})
        if self.time(run, times) or (rounds and self.gates and self._is_decided(run)):
            return True
        if self._to_tell and rounds >= self._to_tell[0] and times.block_s:
            self._to_tell = [each for each in self._to_tell if each > rounds]
            fits = min(self.time.fits(times), run.info.rounds)
            self.tell(Outlook(rounds, times.block_s, fits, times.slots, spread(run)))
        return False

    def _is_decided(self, run: Run) -> bool:
        changes = compare(run, self.gates, run.info.noise_floor)
        return all(change.outcome is not Outcome.INCONCLUSIVE for change in changes)


def spread(run: Run) -> float | None:
    """Return the standard deviation of a pair's training times, in logarithms, where it is largest."""
    base, head = sides(run)
    every = [
        [log for _, log in log_ratios(base, head, each, TRAINING)] for each in head.info.backends
    ]
    known = [float(np.std(logs, ddof=1)) for logs in every if len(logs) >= FEWEST_ROUNDS]
    return max(known, default=None)


def compare(
    run: Run, gates: Sequence[Gate], floor: float, *, by_verdict: bool = False
) -> list[Change]:
    """Compare head with base in every gated figure, paired by round.

    If the run looked for a difference, training times are judged ``by_verdict``, whatever their limit.
    If it looked at its limits, intervals of ratios are such that always hold.
    """
    watched = [TRAINING] if by_verdict else [gate.metric for gate in _ratios(gates)]
    sample = partial(paired, watched=watched if run.info.detect else ())
    detect = run.info.detect if by_verdict else None
    base, head = sides(run)
    terms = comparison.terms(base, head, is_paired=True)
    return comparison.find_changes(base, head, gates, floor, sample, terms, detect)


def is_over(run: Run) -> bool:
    """Tell whether each backend's times have a verdict; before the first block none has."""
    changes = compare(run, [Gate(TRAINING, 0)], run.info.noise_floor, by_verdict=True)
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


def _pairs(base: Run, head: Run, backend: str) -> list[tuple[CellResult, CellResult]]:
    """Return the cells of the rounds that were measured on both sides."""
    before, after = (
        {c.round: c for c in run.of(backend) if c.status.counts} for run in (base, head)
    )
    return [(before[i], after[i]) for i in sorted(before.keys() & after.keys())]


def log_ratios(
    base: Run, head: Run, backend: str, metric: Metric
) -> list[tuple[tuple[CellResult, CellResult], float]]:
    """Return the pairs of a backend that have a figure, with the logarithm of its ratio."""
    pairs = _pairs(base, head, backend)
    return [(pair, log) for pair in pairs if (log := metric.log_ratio(*pair[::-1])) is not None]


def paired(
    base: Run, head: Run, backend: str, metric: Metric, watched: Collection[Metric] = ()
) -> Samples:
    """Return the values of the rounds that were measured on both sides.

    Of ratios that are ``watched`` intervals hold whenever one looks. Accuracies are those of all rounds, and
    held against each other where both saw as many images.
    """
    match metric.scale:
        case Scale.RATIO:
            found = log_ratios(base, head, backend, metric)
            logs = np.array([log for _, log in found])
            make = statistics.anytime_interval if metric in watched else statistics.interval
            values = _values(metric, [pair for pair, _ in found])
            return Samples(*values, make(logs), is_mixed=base.is_mixed)
        case Scale.DIFFERENCE:
            cells = _pairs(base, head, backend)
            if not cells:
                return Samples([], [], None)
            before, after = (
                [c for c in run.of(backend) if c.status.counts] for run in (base, head)
            )
            difference = accuracies.compare(
                accuracies.pair([b for _, b in cells], [a for a, _ in cells])
            )
            return comparison.accuracy_samples(before, after, difference)
        case unknown:
            assert_never(unknown)


def _values(
    metric: Metric, cells: Sequence[tuple[CellResult, CellResult]]
) -> tuple[list[float], list[float]]:
    """Return the figures of both sides, of the pairs that have them."""
    pairs = [(metric.value(a), metric.value(b)) for a, b in cells]
    known = [(a, b) for a, b in pairs if a is not None and b is not None]
    return [a for a, _ in known], [b for _, b in known]
