"""Odd machines: those whose blocks lie apart from the blocks of their equals.

On machines of one kind (:attr:`nnbench.records.runs.Environment.kind`) the ratios of a block should not depend on where it ran. Of each machine
and backend the sum of the ranks of its log ratios, among those of all, is standardized as in the test of Wilcoxon; and
the largest of all machines and backends is held against the largest that comes of giving the blocks to the machines at random,
as often as there are PERMUTATIONS. So one p-value accounts for all of them, however they depend on each other, and whatever
distribution the ratios have. The machine that is furthest off is taken out, if it is beyond CERTAINTY, and the others are looked at
again, since it makes them look odd as well.

Sources: P. Westfall and S. Young, *Resampling-based multiple testing* (1993), for the largest statistic under permutation;
F. Wilcoxon, "Individual comparisons by ranking methods" (1945), for its ranks; B. Rosner, "Percentage points for a generalized ESD
many-outlier procedure" (1983), for taking out one after the other. How often it is right: ``tests/studies/odd_machines.py``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench.figures import frames, machines
from nnbench.figures.metrics import TRAINING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nnbench.figures.frames import Group
    from nnbench.records.runs import RunInfo

    Ratios = Mapping[str, NDArray[np.float64]]  # of each machine: log ratios, blocks × backends

FEWEST_BLOCKS = 5  #: of a machine, below which it is not looked at: of two such, no order of ten blocks is rare enough
CERTAINTY = 0.99  #: with which no machine of a run is called odd if none is
PERMUTATIONS = 999, 199  #: where there are few values, and where there are many
WORK = 20_000_000  #: values that are permuted at most, if the smaller number is enough


class Odd(NamedTuple):
    """A machine, and the backend in whose ratio it differs most."""

    machine: str
    equals: list[str]  #: machines that it was held against
    backend: str
    ratio: float  #: of its median ratio to the median of theirs
    p_value: float  #: of all machines of the run
    blocks: int


def find(info: RunInfo, groups: Mapping[str, Group]) -> list[Odd]:
    """Return the machines of a run that are odd, by more than the noise floor of their kind."""
    base = groups.get(info.baseline)
    if base is None or len(info.machines) < 2:
        return []
    logs = {
        name: {
            cell.round: (cell.machine, log)
            for cell, other in frames.paired(group, base)
            if (log := TRAINING.log_ratio(cell, other)) is not None
        }
        for name, group in groups.items()
        if group is not base and not group.obstacle
    }
    logs = {name: own for name, own in logs.items() if own}
    rounds = set.intersection(*(set(own) for own in logs.values())) if logs else set()
    by_machine: dict[str, list[list[float]]] = {}
    for round_ in sorted(rounds):
        [(machine, _), *_] = found = [own[round_] for own in logs.values()]
        by_machine.setdefault(machine, []).append([log for _, log in found])
    kinds: dict[str, dict[str, NDArray[np.float64]]] = {}
    for name, kind in machines.by_machine(info).items():
        if len(own := by_machine.get(name, [])) >= FEWEST_BLOCKS:
            kinds.setdefault(kind, {})[name] = np.array(own)
    compared = [own for own in kinds.values() if len(own) > 1]
    return [
        odd
        for own in compared
        for odd in among(own, [*logs], _floor(info, own), (1 - CERTAINTY) / len(compared))
    ]


def _floor(info: RunInfo, names: Mapping[str, object]) -> float:
    """Return what no comparison on some machines can tell from nothing."""
    own = (info.machines[name] for name in names)
    return max(m.turn_floor if info.turns else m.noise_floor for m in own)


def among(equals: Ratios, backends: Sequence[str], floor: float, alpha: float) -> list[Odd]:
    """Return the odd ones among machines of a kind.

    Parameters
    ----------
    equals
        The log ratios of each: a row for each block, a column for each of the backends.
    backends
        Their names.
    floor
        The relative difference up to which a machine is not called odd.
    alpha
        The chance to call one odd where none is.
    """
    left, found = dict(equals), []
    while len(left) > 1:
        names, values = [*left], np.concatenate([*left.values()])
        counts = np.array([len(own) for own in left.values()])
        ranks = _ranks(values)
        scores, chances = _scores(ranks, counts), _largest_by_chance(ranks, counts)
        p_values = (1 + (chances >= scores[..., None] - 1e-9).sum(axis=-1)) / (1 + len(chances))
        odd, _ = np.unravel_index(np.argmax(scores), scores.shape)
        if p_values[odd].min() > alpha:
            break
        name = names[odd]
        own = left.pop(name)
        centers = np.median([np.median(each, axis=0) for each in left.values()], axis=0)
        shifts = np.where(p_values[odd] <= alpha, np.median(own, axis=0) - centers, 0.0)
        furthest = int(np.argmax(abs(shifts)))
        if abs(shifts[furthest]) > math.log1p(floor):
            ratio, p = math.exp(shifts[furthest]), float(p_values[odd][furthest])
            found.append(Odd(name, [*left], backends[furthest], ratio, p, len(own)))
    return found


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ranks within each column, less their mean; those of equal values are the same."""
    columns = []
    for column in values.T:
        _, inverse, counts = np.unique(column, return_inverse=True, return_counts=True)
        columns.append((np.cumsum(counts) - (counts - 1) / 2)[inverse])
    return np.array(columns).T - (len(values) + 1) / 2


def _scores(ranks: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how far the sums of each machine's ranks are from 0, in their standard deviations: machines × backends."""
    total = len(ranks)
    sums = np.add.reduceat(ranks, np.cumsum(counts) - counts, axis=0)
    deviations = np.sqrt(counts * (total - counts) * (total + 1) / 12)
    scores: NDArray[np.float64] = abs(sums) / deviations[:, None]
    return scores


def _largest_by_chance(
    ranks: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the largest score of each permutation of the blocks; that of a table must not change when it is made again."""
    rng, (most, fewest) = np.random.default_rng(0), PERMUTATIONS
    number = min(most, max(fewest, WORK // ranks.size))
    return np.array([_scores(rng.permutation(ranks), counts).max() for _ in range(number)])
