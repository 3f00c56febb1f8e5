"""Measure what this machine can distinguish, by runs whose right answer is known.

One backend runs under several names in every block. Between those that are equal every
difference is noise (A/A): the noise floor is how far from 1 such a comparison's interval
reaches. The others carry a known slowdown: the smallest one that is found, with all larger ones,
is what the machine can be trusted to find.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations, takewhile
from math import exp, log
from typing import TYPE_CHECKING, Any

from nnbench.contract.errors import NnbenchError
from nnbench.figures import metrics, statistics
from nnbench.records import Handicap
from nnbench.runs import planning

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nnbench.figures.statistics import Comparison
    from nnbench.records import CellResult
    from nnbench.runs.planning import Plan

EQUALS = ("a1", "a2", "a3")  #: the same backend under three names: three A/A comparisons
HANDICAPS = {
    "work5": Handicap("work", 0.05),
    "work10": Handicap("work", 0.10),
    "work20": Handicap("work", 0.20),
    "sleep10": Handicap("sleep", 0.10),
}
LEAST_FLOOR = 0.01  #: no machine is trusted below this


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


def evaluate(cells: Iterable[CellResult]) -> tuple[float, list[Trial]]:
    """Return the noise floor, and all comparisons judged with it.

    Raises
    ------
    NnbenchError
        If a cell failed, so that there is nothing to judge.
    """
    blocks = _blocks(cells)

    def compare(a: str, b: str, floor: float = 0.0) -> Comparison:
        logs = [metrics.TRAINING.log_ratio(block[a], block[b]) for block in blocks]
        return statistics.compare([log for log in logs if log is not None], floor)

    pairs = [(a, b, 0.0) for a, b in combinations(EQUALS, 2)]
    floor = noise_floor([compare(a, b) for a, b, _ in pairs])
    pairs += [(name, EQUALS[0], handicap.share) for name, handicap in HANDICAPS.items()]
    return floor, [Trial(f"{a} and {b}", share, compare(a, b, floor)) for a, b, share in pairs]


def _blocks(cells: Iterable[CellResult]) -> list[dict[str, CellResult]]:
    """Return the cells of each round, by variant."""
    blocks: dict[int, dict[str, CellResult]] = {}
    for cell in sorted(cells, key=lambda cell: cell.round):
        if not cell.status.counts or metrics.epoch_s(cell) is None:
            raise NnbenchError(f"{cell.backend} was not measured: {cell.status}: {cell.message}")
        blocks.setdefault(cell.round, {})[cell.backend.rpartition("@")[2]] = cell
    return list(blocks.values())


def noise_floor(equals: Sequence[Comparison]) -> float:
    """Return how far from 1 the intervals of equal backends reach, as a fraction."""
    ends = [
        abs(log(end)) for c in equals if c.interval for end in (c.interval.low, c.interval.high)
    ]
    return max(LEAST_FLOOR, exp(max(ends)) - 1)


def smallest_found(trials: Sequence[Trial]) -> float | None:
    """Return the smallest slowdown that was found together with all larger ones."""
    shares = sorted({trial.share for trial in trials if trial.share}, reverse=True)
    missed = {trial.share for trial in trials if not trial.found}
    return min(takewhile(lambda share: share not in missed, shares), default=None)
