"""Decide whether one series of times differs from another, pair by pair.

The pairs come from blocks: both times of a pair were taken a moment apart, with the same seed. What
is compared is the logarithm of their ratio, so that 2 and 1/2 are equally far from 1. A block gives
one (``nnbench.figures.metrics.Metric.log_ratio``), however many turns its cells took.

Sources: T. Kalibera and R. Jones, "Rigorous benchmarking in reasonable time" (ISMM 2013), for
ratios with intervals instead of bare significance; Student, "The probable error of a mean" (1908);
M. Hollander, D. Wolfe and E. Chicken, *Nonparametric statistical methods* (2014), sections 3.1 to
3.3, for the signed-rank test and its interval, which is Tukey's; B. Efron and R. Tibshirani, *An
introduction to the bootstrap* (1993), chapter 13; S. Holm, "A simple sequentially rejective
multiple test procedure" (1979); for verdicts that may be looked at after each block, T. Lai, "On
confidence sequences" (1976), and H. Wang and A. Ramdas, "Anytime-valid t-tests and confidence
sequences for Gaussian means with unknown variance" (2025). How often the intervals are right: ``tests/studies/coverage.py``.
"""

from __future__ import annotations

import importlib
import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

from nnbench.contract.bounds import LARGEST
from nnbench.records.runs import DEFAULT_FLOOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Verdict = Literal["faster", "slower", "same", "inconclusive"]
CONFIDENCE = 0.95
FEWEST_RANKED = 10  #: pairs, below which the ranks' interval is hardly narrower than their range
FEWEST_RESAMPLED = 6  #: values, below which a bootstrap is too narrow
MIXTURE = 4.0  #: of effects, in variances of a pair: narrow intervals from five pairs on
POWER = 0.8  #: chance to find what is said to be found
RESAMPLES = 9999
MOST_LOG = 700.0  #: of a ratio that has a number
MANY = 200  #: values, from which on the bootstrap draws only what it needs


@dataclass(frozen=True, slots=True)
class Interval:
    """A median ratio with its confidence interval."""

    ratio: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One series of times against another; a ratio above 1 is slower."""

    pairs: int
    interval: Interval | None  #: None with a single pair
    ratio: float
    p_value: float | None  #: None with a single pair, or without variation
    verdict: Verdict
    stdev: float | None = None  #: of the logarithms of the pairs' ratios; None with a single one


def import_libraries(pairs: int) -> None:
    """Import what comparing so many pairs will need, or fewer, so that it is not done beside a timed call."""
    importlib.import_module("scipy.special")
    if pairs >= FEWEST_RANKED:
        importlib.import_module("scipy.stats")


def compare(
    log_ratios: Sequence[float], floor: float = DEFAULT_FLOOR, detect: float | None = None
) -> Comparison:
    """Compare two series of times by their pairs.

    Parameters
    ----------
    log_ratios
        The logarithm of each pair's ratio.
    floor
        The relative difference below which this machine cannot tell two series apart.
    detect
        The one that is looked for after each pair, until there is a verdict. Interval and p hold
        whenever one stops, and those that differ by less than this may be called the same.

    Raises
    ------
    ValueError
        If there are no pairs.
    """
    if not log_ratios:
        raise ValueError("there must be at least one pair")
    logs = np.asarray(log_ratios)
    middle, p = (
        (interval(logs), p_value(logs))
        if detect is None
        else (anytime_interval(logs), anytime_p(logs))
    )
    return Comparison(
        pairs=len(logs),
        interval=middle,
        ratio=_exp(float(np.median(logs))),
        p_value=p,
        verdict=decide(middle, floor, detect),
        stdev=float(logs.std(ddof=1)) if len(logs) > 1 else None,
    )


def interval(logs: NDArray[np.float64]) -> Interval | None:
    """Return the median ratio with a 95% interval.

    With fewer than ten pairs it is Student's t of the mean, which long tails make wider, not wrong.
    From ten on it is what the signed-rank test does not reject, which long tails hardly widen. Of more
    than MANY it is the bootstrap's, by percentiles of the median, since pairs of pairs get too many.
    """
    if len(logs) < 2:
        return None
    if len(logs) < FEWEST_RANKED:
        ends = _student(logs)
    elif len(logs) <= MANY:
        ends = _signed_rank(logs)
    else:
        ends = _percentiles(resampled_medians(logs, np.random.default_rng(0)))
    return _ratio(float(np.median(logs)), ends)


def anytime_interval(logs: NDArray[np.float64]) -> Interval | None:
    """Return the median ratio with an interval that holds whenever one looks at it, or stops.

    Of a normal distribution the intervals of all numbers of pairs hold the centre at once with 95%: t is
    weighed against a mixture of effects, of which those larger than 20 times in favour are left out.
    None with fewer than four pairs, whose interval would have no ends.
    """
    half = _anytime_half(len(logs))
    if not math.isfinite(half):
        return None
    center, reach = float(logs.mean()), half * float(logs.std(ddof=1))
    return _ratio(float(np.median(logs)), (center - reach, center + reach))


def _anytime_half(pairs: int) -> float:
    """Return half of the length of an interval that always holds, in standard deviations of a pair."""
    if pairs < 2:
        return math.inf
    weight = 1 + pairs * MIXTURE
    bound = (math.sqrt(weight) / (1 - CONFIDENCE)) ** (2 / pairs)
    if bound >= weight:
        return math.inf
    return math.sqrt((pairs - 1) / pairs * (bound - 1) / (1 - bound / weight))


def anytime_p(logs: NDArray[np.float64]) -> float | None:
    """Return the p-value that belongs to such intervals: one over the evidence; None if nothing varies."""
    pairs = len(logs)
    if pairs < 2 or not np.ptp(logs):
        return None
    weight = 1 + pairs * MIXTURE
    squared = pairs / (pairs - 1) * float(logs.mean() ** 2 / logs.var(ddof=1))
    evidence = pairs * (math.log1p(squared) - math.log1p(squared / weight)) - math.log(weight)
    return min(1.0, math.exp(-evidence / 2))


def rounds_for(stdev: float, detect: float) -> int:
    """Return after how many pairs there is a verdict at the latest, if they go on varying so.

    Then the interval is shorter than the way from 1 to ``detect``, and cannot hold both.
    """
    fewest, most = 2, LARGEST

    def is_enough(pairs: int) -> bool:
        return 2 * stdev * _anytime_half(pairs) <= math.log1p(detect)

    return fewest + bisect_left(range(fewest, most), True, key=is_enough)


def ratio_of_medians(times: Sequence[float], others: Sequence[float]) -> Interval | None:
    """Return the ratio of medians of two independent samples, with a 95% interval.

    With six values or more on each side it is the bootstrap's; with fewer it is that of Welch's t
    of the mean logarithms. None if either side has a single value.
    """
    x, y = np.log(np.asarray(times)), np.log(np.asarray(others))
    if min(len(x), len(y)) < 2:
        return None
    middle = float(np.median(x) - np.median(y))
    if min(len(x), len(y)) < FEWEST_RESAMPLED:
        return _ratio(middle, _welch(x, y))
    rng = np.random.default_rng(0)
    return _ratio(middle, _percentiles(resampled_medians(x, rng) - resampled_medians(y, rng)))


def _ratio(middle: float, ends: tuple[float, float]) -> Interval:
    """Return a ratio with its interval, which contains it, from their logarithms."""
    low, high = ends
    return Interval(*map(_exp, (middle, min(low, middle), max(high, middle))))


def _exp(log: float) -> float:
    """Return a ratio, or the largest or smallest one that has a number."""
    return math.exp(max(-MOST_LOG, min(log, MOST_LOG)))


def difference(values: Sequence[float], others: Sequence[float]) -> Interval | None:
    """Return the difference of means of two independent samples, with Welch's 95% interval."""
    x, y = np.asarray(values), np.asarray(others)
    if min(len(x), len(y)) < 2:
        return None
    return Interval(float(x.mean() - y.mean()), *_welch(x, y))


def paired_difference(values: Sequence[float], others: Sequence[float]) -> Interval | None:
    """Return the mean difference of paired values with Student's 95% interval."""
    steps = np.asarray(values) - np.asarray(others)
    return None if len(steps) < 2 else Interval(float(steps.mean()), *_student(steps))


def resampled_medians(values: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the medians of RESAMPLES resamples of some values, as the bootstrap takes them.

    Of more than MANY values only the two in the middle of each resample are drawn, which are all
    that the median needs: of n uniform numbers the k-th smallest has the distribution
    Beta(k, n + 1 - k), and those above it are again uniform. Source: H. David and H. Nagaraja,
    *Order Statistics* (2003), section 2.
    """
    n = len(values)
    if n <= MANY:
        return _medians(values[rng.integers(0, n, (RESAMPLES, n))])
    values, k = np.sort(values), (n + 1) // 2
    lower = rng.beta(k, n + 1 - k, RESAMPLES)
    upper = lower
    if n % 2 == 0:
        upper = lower + (1 - lower) * rng.beta(1, n - k, RESAMPLES)
    below, above = (values[np.minimum((n * u).astype(np.int64), n - 1)] for u in (lower, upper))
    return (below + above) / 2


def _medians(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what numpy.median does of finite values along the last axis, in a fifth of the time."""
    middle = rows.shape[-1] // 2
    parts = np.partition(rows, middle)
    upper: NDArray[np.float64] = parts[..., middle]
    return upper if rows.shape[-1] % 2 else (parts[..., :middle].max(axis=-1) + upper) / 2


def _percentiles(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return the ends of the middle part that CONFIDENCE asks for, as numpy.quantile.

    That rounds the last digit otherwise from version to version.
    """
    ordered, outside = np.sort(values), (1 - CONFIDENCE) / 2

    def end(share: float) -> float:
        place = share * len(ordered) + (1 - share)  # from 1
        below, part = int(place) - 1, place % 1
        return float((1 - part) * ordered[below] + part * ordered[below + 1])

    return end(outside), end(1 - outside)


def _student(values: NDArray[np.float64]) -> tuple[float, float]:
    center, half = float(values.mean()), students_half(values, (1 - CONFIDENCE) / 2)
    return center - half, center + half


def students_half(values: NDArray[np.float64], tail: float) -> float:
    """Return half the length of Student's interval of a mean, which leaves out a tail on either side."""
    return _t(len(values) - 1, tail) * _standard_error(values)


def _t(freedom: float, tail: float) -> float:
    """Return where a tail of Student's distribution begins."""
    from scipy import special  # scipy.stats has the same, and takes three times as long to import

    return float(special.stdtrit(freedom, 1 - tail))


def _standard_error(values: NDArray[np.float64]) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _signed_rank(values: NDArray[np.float64]) -> tuple[float, float]:
    """Return what the signed-rank test does not reject: means of two values each, less the outer ones.

    It covers the centre of any symmetric distribution as often as it should, whatever the tails; and
    of two equal backends the logarithms of ratios are symmetric, since either could be the other.
    """
    ones, others = np.triu_indices(len(values))
    means = np.sort((values[ones] + values[others]) / 2)
    outside = _largest_rejected(len(values))
    return float(means[outside]), float(means[-1 - outside])


@cache
def _largest_rejected(pairs: int) -> int:
    """Return the largest sum of ranks that the two-sided test rejects; from six pairs on there is one."""
    chances = np.ones(1)  # of each sum, if each rank is in it or not with equal chances
    for rank in range(1, pairs + 1):
        chances = (np.pad(chances, (0, rank)) + np.pad(chances, (rank, 0))) / 2
    return int(np.searchsorted(np.cumsum(chances), (1 - CONFIDENCE) / 2, side="right")) - 1


def _welch(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    center = float(x.mean() - y.mean())
    error = math.hypot(_standard_error(x), _standard_error(y))
    if np.ptp(x) == np.ptp(y) == 0:  # no variation, and no degrees of freedom
        return center, center
    share = (_standard_error(x) / error) ** 2  # of the variance, which is x's
    freedom = 1 / (share**2 / (len(x) - 1) + (1 - share) ** 2 / (len(y) - 1))
    half = _t(freedom, (1 - CONFIDENCE) / 2) * error
    return center - half, center + half


def p_value(logs: NDArray[np.float64]) -> float | None:
    """Return the p-value of the test that the interval is made of; None if nothing varies."""
    if len(logs) < 2 or not np.ptp(logs):
        return None
    if len(logs) >= FEWEST_RANKED:
        from scipy import stats

        return float(stats.wilcoxon(logs).pvalue)
    from scipy import special

    t = abs(float(logs.mean())) / _standard_error(logs)
    return 2 * float(special.stdtr(len(logs) - 1, -t))


def findable(stdev: float, pairs: int, floor: float) -> float:
    """Return the smallest slowdown that is found in four of five comparisons, a fraction.

    Of so many pairs whose log ratios have a standard deviation, by the noncentral distribution of t;
    and whose ratio must be beyond the floor. Source: J. Cohen, *Statistical power analysis for the
    behavioral sciences* (1988), chapter 2.
    """
    from scipy import optimize, special

    freedom = pairs - 1
    limit = _t(freedom, (1 - CONFIDENCE) / 2)

    def missing(effect: float) -> float:
        return float(special.nctdtr(freedom, effect * math.sqrt(pairs), limit)) - (1 - POWER)

    significant = stdev * optimize.brentq(missing, 0.0, 100.0)
    beyond = math.log1p(floor) + stdev * NormalDist().inv_cdf(POWER) / math.sqrt(pairs)
    return math.expm1(max(significant, beyond))


def findable_beyond(stdev: float, pairs: int, limit: float) -> float:
    """Return the smallest slowdown that is known to be beyond a limit, in four of five runs, a fraction.

    After so many pairs at the latest, by the interval that always holds; four pairs at least.
    """
    reach = _anytime_half(pairs) + NormalDist().inv_cdf(POWER) / math.sqrt(pairs)
    return math.expm1(math.log1p(limit) + stdev * reach)


def decide(middle: Interval | None, floor: float, detect: float | None = None) -> Verdict:
    """Return the verdict.

    A difference counts if its interval excludes 1 and the ratio itself is beyond the floor. The
    two are the same if the whole interval lies within the floor, or within what was to be
    detected. Everything else is undecided.
    """
    if middle is None:
        return "inconclusive"
    if middle.low > 1 and middle.ratio > 1 + floor:
        return "slower"
    if middle.high < 1 and middle.ratio < 1 / (1 + floor):
        return "faster"
    reach = 1 + (detect or floor)
    within = 1 / reach <= middle.low and middle.high <= reach
    return "same" if within else "inconclusive"


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for their number by Holm's method; None stays None."""
    ranked = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(ranked):
        largest = max(largest, min(1.0, p * (len(ranked) - rank)))
        adjusted[i] = largest
    return adjusted


def is_unstable(times: Sequence[float]) -> bool:
    """Tell whether a series of times is suspicious.

    It is if its middle half spreads over more than 10% of the median, or one time is further than
    50% from it (pyperf's rules), or the times fall into two groups with a gap between them that
    is wider than either group and than 10% of the median, as when two processes in three land on
    a slow placement of threads.
    """
    if len(times) < 3:
        return False
    values = np.sort(np.asarray(times))
    middle = float(np.median(values))
    low, high = np.quantile(values, [0.25, 0.75])
    spread = (high - low) / middle > 0.1
    outlier = values[0] < 0.5 * middle or values[-1] > 1.5 * middle
    return bool(spread or outlier or _has_two_groups(values, middle))


def _has_two_groups(values: NDArray[np.float64], middle: float) -> bool:
    gaps = np.diff(values)
    cut = int(np.argmax(gaps)) + 1
    if min(cut, len(values) - cut) < 2:
        return False
    widest = max(np.ptp(values[:cut]), np.ptp(values[cut:]), 0.1 * middle)
    return bool(gaps[cut - 1] > widest)
