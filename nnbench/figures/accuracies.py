"""Decide whether one training is as accurate as another, seed by seed.

With a seed in common, two backends start from the same parameters and see the same examples in the
same order, so right ones end with nearly the same accuracy. How nearly is measured in *noise*: the
most by which chance can part two networks on a test split, as a standard deviation. If b examples are
right in the one alone and c in the other alone, their accuracies differ by (c - b) / N, with a
variance of at most (b + c) / N² if neither is better (McNemar's test). How many these are nobody
records, but never more than both have errors together, nor than both have right answers.

Sources: Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
percentages" (1947), with the correction for continuity of A. Edwards (1948); T. Dietterich,
"Approximate statistical tests for comparing supervised classification learning algorithms" (1998),
for that test where a training is not repeated; X. Bouthillier et al., "Accounting for variance in
machine learning benchmarks" (2021), for pairs that share their sources of variation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from operator import attrgetter
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

from nnbench.figures import metrics, statistics
from nnbench.figures.statistics import CONFIDENCE, Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from nnbench.records.cells import CellResult

    Pair = tuple[CellResult, CellResult]

Verdict = Literal["lower", "higher", "same", "inconclusive"]
FINDINGS: tuple[Verdict, ...] = ("lower", "higher")  #: verdicts that no right backend should have
#: In noises: what right backends differ by (docs/measurement.md says in which runs).
FLOOR = 1 / 3
#: Of all verdicts of a run together. A finding accuses a backend, so it takes more than an interval.
CERTAINTY = 0.999


@dataclass(frozen=True, slots=True)
class Difference:
    """One training's accuracy less another's, as fractions."""

    pairs: int  #: 0 if the seeds are not the same
    mean: float
    interval: Interval | None  #: None if there is no saying
    floor: float = 0.0  #: no difference up to here is a finding
    verdict: Verdict | None = None  #: None if the size of the test split is not recorded, as once


def measured(cells: Iterable[CellResult]) -> list[CellResult]:
    """Return the cells that count and have an accuracy."""
    return [c for c in cells if c.status.counts and math.isfinite(_accuracy(c))]


def _accuracy(cell: CellResult) -> float:
    """Return the accuracy after the last epoch, or NaN."""
    value = metrics.accuracy(cell)
    return math.nan if value is None else value


def pair(
    cells: Iterable[CellResult], others: Iterable[CellResult], key: str = "round"
) -> list[Pair]:
    """Return the cells of both sides that belong together.

    Where the budget ended a training, its accuracy says how fast the machine was. So both must have seen
    the same number of images.
    """
    key_of = attrgetter(key)
    partners = {key_of(cell): cell for cell in measured(others)}
    pairs = [(c, partners[key_of(c)]) for c in measured(cells) if key_of(c) in partners]
    return [(one, other) for one, other in pairs if one.images == other.images]


def compare(pairs: Sequence[Pair], confidence: float = CONFIDENCE) -> Difference | None:
    """Compare accuracies of the same seeds; None if there are no pairs.

    The interval is the narrower one of two, each of which misses in half of the cases that the
    confidence allows, so that together they miss in no more: Student's, of the differences, unless
    these are all equal; and that of the noise, which a single pair has as well.
    """
    if not pairs:
        return None
    test_images = pairs[0][0].test_images
    ones, others = (
        np.array([_accuracy(cell) for cell in side]) for side in zip(*pairs, strict=True)
    )
    if test_images is None:
        interval = statistics.paired_difference(ones.tolist(), others.tolist())
        return Difference(len(pairs), float((ones - others).mean()), interval)
    steps = (np.rint(ones * test_images) - np.rint(others * test_images)) / test_images
    mean, noise, tail = float(steps.mean()), _noise(ones, others, test_images), (1 - confidence) / 4
    half = _chance(noise, len(pairs), test_images, tail)
    if np.ptp(steps):
        half = min(half, statistics.students_half(steps, tail))
    interval, floor = Interval(mean, mean - half, mean + half), FLOOR * noise
    verdict = _verdict(interval, floor, furthest=float(abs(steps).max()))
    return Difference(len(pairs), mean, interval, floor, verdict)


def compare_apart(cells: Iterable[CellResult], others: Iterable[CellResult]) -> Difference | None:
    """Compare accuracies of different seeds, which takes many more.

    None if a side has fewer than two of the same number of images.
    """
    left, right = measured(cells), measured(others)
    shared = {cell.images for cell in left} & {cell.images for cell in right}
    x, y = (
        np.array([_accuracy(cell) for cell in side if shared and cell.images == max(shared)])
        for side in (left, right)
    )
    interval = statistics.difference(x.tolist(), y.tolist())
    if interval is None:
        return None
    test_images = left[0].test_images
    if test_images is None:
        return Difference(0, interval.ratio, interval)
    floor, furthest = FLOOR * _noise(x, y, test_images), max(-interval.low, interval.high)
    return Difference(0, interval.ratio, interval, floor, _verdict(interval, floor, furthest))


def _noise(accuracies: NDArray[np.float64], others: NDArray[np.float64], test_images: int) -> float:
    """Return the most by which chance parts two accuracies, as a standard deviation."""
    wrong = float(2 - accuracies.mean() - others.mean())
    return math.sqrt(max(0.0, min(wrong, 2 - wrong)) / test_images)


def _chance(noise: float, pairs: int, test_images: int, tail: float) -> float:
    """Return the half width of the noise's interval, widened by an example for continuity."""
    return NormalDist().inv_cdf(1 - tail) * noise / math.sqrt(pairs) + 1 / (pairs * test_images)


def _verdict(interval: Interval, floor: float, furthest: float) -> Verdict:
    """Return the verdict.

    A difference counts if its interval excludes 0 and it is itself beyond the floor. Two trainings are
    the same if they were never further apart than that.
    """
    if interval.high < 0 and interval.ratio < -floor:
        return "lower"
    if interval.low > 0 and interval.ratio > floor:
        return "higher"
    return "same" if furthest <= floor else "inconclusive"
