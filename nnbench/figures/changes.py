"""Find where a series changes its level: how surely, and between which of its values.

A series is cut where the ranks before and after differ most: each cut is judged by the p-value of its
rank-sum test, and the least of them by how small it gets when the same values come in a random order. So no
distribution is assumed, but that values which do not change could have come in any order: what correlates
from one to the next breaks that, and :func:`are_correlated` tells. A series that has been cut is searched on both sides. What comes and goes again
leaves both sides of a cut alike, so where there is no cut a stretch within the series is held against all around it.

Sources: A. Pettitt, "A non-parametric approach to the change-point problem" (1979), for ranks; T. Hothorn
and B. Lausen, "On the exact distribution of maximally selected rank statistics" (2003), for the largest over all
cuts, compared alike although few values lie beside some; L. Vostrikova, "Detecting 'disorder' in multidimensional
random processes" (1981), for the search on both sides; A. Olshen et al., "Circular binary segmentation for the analysis of array-based DNA
copy number data" (2004), for stretches within; J. Bai, "Estimating multiple breaks one at a time" (1997), for
looking again between the neighbours; J. Besag and P. Clifford, "Sequential Monte Carlo p-values" (1991), for
an early end where nothing will be found. How often they are right: ``tests/studies/changes.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from nnbench.figures.statistics import CONFIDENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    Tables = Sequence[NDArray[np.float64]]
    Score = Callable[[NDArray[np.int64], Tables], NDArray[np.float64]]

LEVELS = (
    0.008,
    0.002,
)  #: chance to find a cut, and a stretch within, where nothing changes: together 1%
FEWEST = 12  #: values, below which no order of them is that seldom
ORDERS = 1999  #: that are drawn of a series
AT_ONCE = 250
RESAMPLES = 999  #: of both sides of a change
SHORTEST = 3  #: stretch within a series
GROWTH = 1.2  #: from one length of stretches to the next
EXACT = 10  #: values on one side of a cut, up to which the normal distribution is too coarse
MOST_ROUNDS = 10  #: of looking again
UNCORRELATED = 1.645  #: standard errors that a correlation of nothing stays below, in 95%


@dataclass(frozen=True, slots=True)
class Change:
    """A change of level, by the number of the first value after it."""

    at: int
    low: int  #: of the interval that holds it with 95%
    high: int
    p_value: float  #: of the values from the change before to the one after


def find(values: Sequence[float]) -> list[Change]:
    """Return the changes of level of a series, in its order.

    Parameters
    ----------
    values
        Finite numbers, one after the other.

    Returns
    -------
    list of Change
        None of fewer than FEWEST values, or of values that are all equal.
    """
    series = _Series(np.asarray(values, dtype=np.float64))
    cuts = [*series.search(0, len(values))]
    for _ in range(MOST_ROUNDS):
        # Where two changes are near, the first that was found stands where neither is.
        again = [*series.look_again(cuts)]
        if again == cuts:
            break
        cuts = again
    ends = [0, *cuts, len(values)]
    between = zip(ends, cuts, ends[2:], strict=False)
    return [series.change(*each) for each in between]


def are_correlated(values: Sequence[float], changes: Sequence[Change] = ()) -> bool:
    """Tell whether neighbours in a series are alike beyond what its changes explain.

    That is the correlation of what is left of each value without the mean of its stretch, with the value after it. Of values that
    do not depend on each other it is below 0, by one over their number for each mean that is taken off.
    """
    count = len(values)
    if count < FEWEST:
        return False
    stretches = np.split(np.asarray(values, dtype=np.float64), [change.at for change in changes])
    rest = [stretch - stretch.mean() for stretch in stretches]
    squares = sum(float(each @ each) for each in rest)
    if not squares:
        return False
    products = sum(float(each[1:] @ each[:-1]) for each in rest)
    return products / squares + len(stretches) / count > UNCORRELATED / math.sqrt(count)


class _Series:
    """A series, and what is known of its stretches."""

    def __init__(self, values: NDArray[np.float64]) -> None:
        self._values = values
        self._known: dict[tuple[int, int], tuple[int, float]] = {}

    def search(self, first: int, end: int) -> Iterator[int]:
        """Yield the cuts of a stretch, in order: its own, and those of all sides."""
        cut, p = self.cut(first, end)
        cuts = [cut] if p <= LEVELS[0] else self.within(first, end)
        for number, (start, stop) in enumerate(pairwise([first, *cuts, end])):
            if cuts:
                yield from self.search(start, stop)
            yield from cuts[number : number + 1]

    def look_again(self, cuts: Sequence[int]) -> Iterator[int]:
        """Yield each cut where it is best between its neighbours, if it is still one."""
        ends = [0, *cuts, len(self._values)]
        for first, end in zip(ends, ends[2:], strict=False):
            cut, p = self.cut(first, end)
            if p <= LEVELS[0]:
                yield cut

    def cut(self, first: int, end: int) -> tuple[int, float]:
        """Return the best cut of a stretch, and its p-value; 1 is any that is too large."""
        key = first, end
        if key not in self._known:
            ranks = _doubled_ranks(self._values[first:end])
            found, p = _best(ranks, _cuts, LEVELS[0])
            self._known[key] = first + found + 1, p
        return self._known[key]

    def within(self, first: int, end: int) -> list[int]:
        """Return both ends of a stretch that is unlike all around it; nothing if there is none."""
        ranks = _doubled_ranks(self._values[first:end])
        place, p = _best(ranks, _stretches, LEVELS[1])
        if p > LEVELS[1]:
            return []
        for length in _lengths(len(ranks)):
            places = len(ranks) - length - 1
            if place < places:
                return [first + place + 1, first + place + 1 + length]
            place -= places
        return []

    def change(self, first: int, cut: int, end: int) -> Change:
        """Return a change with the interval in which it lies."""
        ranks = _doubled_ranks(self._values[first:end])
        low, high = _interval(ranks, cut - first)
        return Change(cut, first + low, first + high, self.cut(first, end)[1])


def _doubled_ranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return twice the ranks, from 1, so that those of equal values are whole as well."""
    ordered = np.sort(values)
    sides = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray(sum(sides) + 1, dtype=np.int64)


def _best(ranks: NDArray[np.int64], score: Score, level: float) -> tuple[int, float]:
    """Return where some scores of a stretch are largest, and the p-value of that.

    No more orders are drawn once it is above the level; then it is 1.
    """
    if len(ranks) < FEWEST or not np.ptp(ranks):
        return 0, 1.0
    tables = _tables(ranks)
    best = score(ranks[None], tables).max()
    most, rng = level * (ORDERS + 1), np.random.default_rng(0)
    beyond, left = 1, ORDERS  # its own order is one of them
    while left and beyond <= most:
        count = min(AT_ONCE, left)
        orders = rng.permuted(np.broadcast_to(ranks, (count, len(ranks))), axis=1)
        beyond += int(np.count_nonzero(score(orders, tables).max(axis=1) >= best))
        left -= count
    # Tables and the normal distribution do not quite agree, so that one of them alone says where.
    place = int(score(ranks[None], ()).argmax())
    return place, 1.0 if beyond > most else beyond / (ORDERS + 1)


def _lengths(count: int) -> list[int]:
    """Return the lengths of the stretches that are looked at within a series: the larger, the fewer."""
    lengths, length = [], float(SHORTEST)
    while length < count - SHORTEST:
        lengths.append(round(length))
        length = max(length + 1, length * GROWTH)
    return lengths


def _cuts(orders: NDArray[np.int64], tables: Tables) -> NDArray[np.float64]:
    """Return how far the first values of each order are from what is expected, for each cut.

    Parameters
    ----------
    orders
        The same doubled ranks in other orders; (orders, values).
    tables
        Of :func:`_tables`; none is the normal distribution alone.

    Returns
    -------
    ndarray
        Standard deviations; (orders, values - 1).
    """
    count = orders.shape[1]
    sums = np.cumsum(orders, axis=1)
    total, sums = sums[:, -1:], sums[:, :-1]
    before = np.arange(1, count)
    scores: NDArray[np.float64]
    scores = np.abs(sums - before * total / count) / _deviation(orders, before)
    for few, table in enumerate(tables, start=1):
        scores[:, few - 1] = table[sums[:, few - 1]]
        scores[:, -few] = table[total[:, 0] - sums[:, -few]]
    return scores


def _stretches(orders: NDArray[np.int64], tables: Tables) -> NDArray[np.float64]:
    """Return likewise how far stretches are that end before the series does, and begin after it; one length after the other."""
    count = orders.shape[1]
    sums = np.cumsum(orders, axis=1)
    mean = sums[:, -1:] / count
    found = []
    for length in _lengths(count):
        own = sums[:, length:-1] - sums[:, : -length - 1]
        if length <= len(tables):
            found.append(tables[length - 1][own])
        else:
            found.append(np.abs(own - length * mean) / _deviation(orders, length))
    return np.concatenate(found, axis=1)


def _deviation(orders: NDArray[np.int64], count: int | NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the standard deviation of the sum of so many values of an order, drawn at random."""
    size = orders.shape[1]
    variance = orders.var(axis=1, keepdims=True) * count * (size - count) / (size - 1)
    deviation: NDArray[np.float64] = np.sqrt(np.maximum(variance, np.finfo(float).tiny))
    return deviation


def _tables(ranks: NDArray[np.int64]) -> list[NDArray[np.float64]]:
    """Return for 1, 2, … ranks what each sum of them is worth, if they are drawn from all.

    That is how many standard deviations a normal distribution has beyond it with the same chance, on both sides.
    """
    from scipy import special

    few = min(EXACT, len(ranks) // 2)
    largest = int(np.sort(ranks)[-few:].sum())
    ways = np.zeros((few + 1, largest + 1))  # to come to a sum with so many of the ranks
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, :-rank]
    chances = ways[1:] / ways[1:].sum(axis=1, keepdims=True)
    below = np.cumsum(chances, axis=1)
    above = np.cumsum(chances[:, ::-1], axis=1)[:, ::-1]
    tails = np.clip(np.minimum(below, above), np.finfo(float).tiny, 0.5)
    return list(-special.ndtri(tails))


def _interval(ranks: NDArray[np.int64], cut: int) -> tuple[int, int]:
    """Return between which cuts a change lies: where it is found if both sides are drawn anew from themselves."""
    rng = np.random.default_rng(0)
    sides = (
        side[rng.integers(0, len(side), (RESAMPLES, len(side)))]
        for side in (ranks[:cut], ranks[cut:])
    )
    found = np.sort(_cuts(np.concatenate([*sides], axis=1), ()).argmax(axis=1) + 1)
    outside = int((1 - CONFIDENCE) / 2 * (RESAMPLES + 1))
    return min(int(found[outside - 1]), cut), max(int(found[-outside]), cut)
