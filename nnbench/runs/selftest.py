"""Measure what this machine can distinguish, by runs whose right answer is known.

One backend runs under several names in every block. Between those that are equal every difference is
noise (A/A). Every other block gives the noise floor: how far from 1 the ratios of such comparisons
are. The blocks in between are judged by it, so that a floor that does not hold is found out. The
others carry a known slowdown: the smallest one that is found, with all larger ones, is what the
machine can be trusted to find.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, takewhile
from math import exp, log, sqrt
from statistics import fmean, variance
from typing import TYPE_CHECKING, Any, NamedTuple

from nnbench.contract.errors import NnbenchError
from nnbench.figures import metrics, statistics
from nnbench.records.cells import Handicap, Status
from nnbench.runs import planning, schedule

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nnbench.figures.statistics import Comparison
    from nnbench.records.cells import CellResult
    from nnbench.records.runs import Environment
    from nnbench.runs.planning import Plan
    from nnbench.runs.run import Run

    Block = dict[str, CellResult]  # by variant

EQUALS = ("a1", "a2", "a3")  #: the same backend under three names: three A/A comparisons
HANDICAPS = {
    "work5": Handicap("work", 0.05),
    "sleep10": Handicap("sleep", 0.10),
}
EPOCHS = 2  #: so that six blocks and more go into a minute
LEAST_FLOOR = 0.01  #: no machine is trusted below this
FEWEST_BLOCKS = 6  #: three for the floor, and three to be judged
SECONDS = 55.0  #: after which no block is started, nor one that would end later


@dataclass(frozen=True, slots=True)
class Trial:
    """One comparison whose right answer is known."""

    name: str
    share: float  #: the injected slowdown; 0 for A/A
    comparison: Comparison

    @property
    def found(self) -> bool:
        """Whether the verdict is that of a slowdown."""
        return self.comparison.verdict == "slower"

    @property
    def is_false_alarm(self) -> bool:
        """Whether two that are equal were told apart."""
        return not self.share and self.comparison.verdict in {"slower", "faster"}


@dataclass(frozen=True, slots=True)
class Findings:
    """What a selftest has found."""

    floor: float  #: of every other block
    trials: list[Trial]  #: of the blocks in between, judged by that floor
    other_floor: float  #: of these
    stdev: float  #: of the logarithm of a pair's ratio, of all blocks

    @property
    def false_alarms(self) -> list[Trial]:
        """Comparisons of equals that were told apart: the floor of half the blocks did not hold."""
        return [trial for trial in self.trials if trial.is_false_alarm]

    @property
    def kept_floor(self) -> float:
        """The floor to go by from now on."""
        return max(self.floor, self.other_floor) if self.false_alarms else self.floor


def time_is_up() -> schedule.TimeLimit:
    """Return what tells, before each block, whether another one would end in time."""
    return schedule.TimeLimit(SECONDS, FEWEST_BLOCKS)


def plan(backend: str, **asked: Any) -> Plan:
    """Return a run of one backend under every name of the selftest.

    ``asked`` is what :func:`nnbench.runs.planning.make` takes, but for the baseline.
    """
    plan = planning.plan(backends=[backend], baseline=None, **asked)
    [entry], [summary] = plan.entries, plan.info.backends.values()
    entries = [entry.as_variant(name) for name in EQUALS]
    entries += [entry.as_variant(name, handicap=h) for name, h in HANDICAPS.items()]
    labels = {each.label: summary for each in entries}
    info = replace(plan.info, backends=labels, baseline=entries[0].label)
    return plan._replace(info=info, entries=entries)


class Machines(NamedTuple):
    """Machines of one hardware and system, which have one floor: it is kept by these."""

    names: list[str]
    environment: Environment
    cells: list[CellResult]

    @property
    def blocks(self) -> int:
        """How many they have made."""
        return len({cell.round for cell in self.cells if cell.status.ran})


def by_kind(run: Run) -> list[Machines]:
    """Return the machines that cells ran on, kind by kind, those with the most blocks first."""
    kinds: dict[str, Machines] = {}
    for name, machine in run.info.machines.items():
        environment = machine.environment
        new = Machines([], environment, [])
        kind = kinds.setdefault(environment.machine_fingerprint, new)
        kind.names.append(name)
        kind.cells.extend(cell for cell in run.cells if cell.machine == name)
    return sorted((kind for kind in kinds.values() if kind.blocks), key=lambda kind: -kind.blocks)


def evaluate(cells: Iterable[CellResult]) -> Findings:
    """Return the noise floor of half of the blocks, and all comparisons in the others, judged by it.

    Raises
    ------
    NnbenchError
        If a cell failed, or there are too few blocks, so that there is nothing to judge.
    """
    blocks = _blocks(cells)
    if len(blocks) < FEWEST_BLOCKS:
        raise NnbenchError(f"a selftest needs {FEWEST_BLOCKS} blocks, and has {len(blocks)}")
    floor = noise_floor(blocks[::2])
    pairs = [(a, b, 0.0) for a, b in combinations(EQUALS, 2)]
    pairs += [(name, EQUALS[0], handicap.share) for name, handicap in HANDICAPS.items()]
    trials = [
        Trial(f"{a} and {b}", share, statistics.compare(_logs(blocks[1::2], a, b), floor))
        for a, b, share in pairs
    ]
    stdev = sqrt(fmean(variance(_logs(blocks, a, b)) for a, b, _ in pairs))
    return Findings(floor, trials, noise_floor(blocks[1::2]), stdev)


def _logs(blocks: Sequence[Block], variant: str, other: str) -> list[float]:
    """Return the logarithm of the ratio of two variants in each block."""
    logs = (metrics.TRAINING.log_ratio(block[variant], block[other]) for block in blocks)
    return [log for log in logs if log is not None]


def _blocks(cells: Iterable[CellResult]) -> list[Block]:
    """Return the cells of each round, by variant."""
    blocks: dict[int, Block] = {}
    measured = (cell for cell in cells if cell.status is not Status.LOST)
    for cell in sorted(measured, key=lambda cell: cell.round):
        if not cell.status.counts or metrics.epoch_s(cell) is None:
            raise NnbenchError(f"{cell.backend} was not measured: {cell.status}: {cell.message}")
        blocks.setdefault(cell.round, {})[cell.backend.rpartition("@")[2]] = cell
    return list(blocks.values())


def noise_floor(blocks: Sequence[Block]) -> float:
    """Return how far from 1 the ratios of equal backends are, as a fraction.

    What is left of chance in them, intervals allow for already; the floor is for what more blocks
    would not take away.
    """
    ratios = (statistics.compare(_logs(blocks, a, b)).ratio for a, b in combinations(EQUALS, 2))
    return max(LEAST_FLOOR, exp(max(abs(log(ratio)) for ratio in ratios)) - 1)


def smallest_found(trials: Sequence[Trial]) -> float | None:
    """Return the smallest slowdown that was found together with all larger ones."""
    shares = sorted({trial.share for trial in trials if trial.share}, reverse=True)
    missed = {trial.share for trial in trials if not trial.found}
    return min(takewhile(lambda share: share not in missed, shares), default=None)
