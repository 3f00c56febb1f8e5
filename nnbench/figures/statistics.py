"""Decide whether one series of times differs from another, pair by pair.

The pairs come from blocks: both times of a pair were taken a moment apart, with the same seed.
What is compared is the logarithm of their ratio, so that 2 and 1/2 are equally far from 1.

Sources: T. Kalibera and R. Jones, "Rigorous benchmarking in reasonable time" (ISMM 2013), for
ratios with intervals instead of bare significance; B. Efron and R. Tibshirani, *An introduction
to the bootstrap* (1993), chapter 13; S. Holm, "A simple sequentially rejective multiple test
procedure" (1979).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from nnbench.records import DEFAULT_FLOOR

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Verdict = Literal["faster", "slower", "same", "inconclusive"]
CONFIDENCE = 0.95
FEWEST_PAIRS = 6  #: below this a rank test cannot reach 5%, and a bootstrap is too narrow
RESAMPLES = 9999
BATCH = 1_000_000  #: values resampled at once: bounds the memory, changes nothing


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
    p_value: float | None  #: None with too few pairs
    verdict: Verdict


def compare(
    times: Sequence[float], others: Sequence[float], floor: float = DEFAULT_FLOOR
) -> Comparison:
    """Compare paired times.

    Parameters
    ----------
    times, others
        Seconds, the same number of each; the ratio is ``times / others``.
    floor
        The relative difference below which this machine cannot tell two series apart.

    Raises
    ------
    ValueError
        If there are no pairs, or a time is not positive.
    """
    if not times or min(*times, *others) <= 0:
        raise ValueError("there must be at least one pair of positive times")
    logs = np.log(np.asarray(times) / np.asarray(others))
    found = interval(logs)
    return Comparison(
        pairs=len(logs),
        interval=found,
        ratio=float(np.exp(np.median(logs))),
        p_value=rank_test(logs),
        verdict=judge(found, floor),
    )


def interval(logs: NDArray[np.float64]) -> Interval | None:
    """Return the median ratio with a 95% interval.

    With six pairs or more it is the bootstrap's, by percentiles of the median. With fewer it is
    Student's t of the mean, because a bootstrap of so few is never wider than their range.
    """
    if len(logs) < 2:
        return None
    from scipy import stats  # a second, which a run of one round need not wait

    middle = float(np.median(logs))
    if len(logs) < FEWEST_PAIRS:
        half = stats.t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1) * stats.sem(logs)
        center = float(np.mean(logs))
        low, high = min(center - half, middle), max(center + half, middle)
    else:
        bounds = stats.bootstrap(
            (logs,),
            _median,
            n_resamples=RESAMPLES,
            batch=max(1, BATCH // len(logs)),
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
        low, high = bounds.low, bounds.high
    return Interval(*(math.exp(value) for value in (middle, low, high)))


def ratio_of_medians(times: Sequence[float], others: Sequence[float]) -> Interval | None:
    """Return the ratio of medians of two independent samples, with a 95% interval.

    With six values or more on each side it is the bootstrap's; with fewer it is that of Welch's t
    of the mean logarithms. None if either side has a single value.
    """
    from scipy import stats

    x, y = np.log(np.asarray(times)), np.log(np.asarray(others))
    if min(len(x), len(y)) < 2:
        return None
    middle = float(np.median(x) - np.median(y))
    if min(len(x), len(y)) < FEWEST_PAIRS:
        low, high = _welch(x, y)
    else:
        low, high = stats.bootstrap(
            (x, y),
            _median_difference,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            rng=np.random.default_rng(0),
        ).confidence_interval
    return Interval(*(math.exp(v) for v in (middle, min(low, middle), max(high, middle))))


def difference(values: Sequence[float], others: Sequence[float]) -> Interval | None:
    """Return the difference of means of two independent samples, with Welch's 95% interval."""
    x, y = np.asarray(values), np.asarray(others)
    if min(len(x), len(y)) < 2:
        return None
    return Interval(float(x.mean() - y.mean()), *_welch(x, y))


def paired_difference(values: Sequence[float], others: Sequence[float]) -> Interval | None:
    """Return the mean difference of paired values with Student's 95% interval."""
    from scipy import stats

    steps = np.asarray(values) - np.asarray(others)
    if len(steps) < 2:
        return None
    middle = float(steps.mean())
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(steps) - 1) * stats.sem(steps))
    return Interval(middle, middle - half, middle + half)


def _median_difference(x: NDArray[np.float64], y: NDArray[np.float64], axis: int = -1) -> Any:
    return _median(x, axis) - _median(y, axis)


def _median(values: NDArray[np.float64], axis: int = -1) -> Any:
    """Return what numpy.median does of finite values along the last axis, in a fifth of the time."""
    assert axis == -1  # noqa: S101 - as the bootstrap has it
    middle = values.shape[-1] // 2
    parts = np.partition(values, middle)
    upper = parts[..., middle]
    return upper if values.shape[-1] % 2 else (parts[..., :middle].max(axis=-1) + upper) / 2


def _welch(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    from scipy import stats

    center = float(x.mean() - y.mean())
    if np.ptp(x) == np.ptp(y) == 0:  # no variation: the t statistic is 0 / 0
        return center, center
    found = stats.ttest_ind(x, y, equal_var=False).confidence_interval(CONFIDENCE)
    return float(found.low), float(found.high)


def rank_test(logs: NDArray[np.float64]) -> float | None:
    """Return the p-value of Wilcoxon's signed-rank test; None with fewer than six pairs."""
    if len(logs) < FEWEST_PAIRS or not np.any(logs):
        return None
    from scipy import stats

    return float(stats.wilcoxon(logs).pvalue)


def judge(found: Interval | None, floor: float) -> Verdict:
    """Return the verdict.

    A difference counts if its interval excludes 1 and the ratio itself is beyond the floor. The
    two are the same if the whole interval lies within the floor. Everything else is undecided.
    """
    if found is None:
        return "inconclusive"
    if found.low > 1 and found.ratio > 1 + floor:
        return "slower"
    if found.high < 1 and found.ratio < 1 / (1 + floor):
        return "faster"
    within = 1 / (1 + floor) <= found.low and found.high <= 1 + floor
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
    if len(values) < 4:
        return False
    gaps = np.diff(values)
    cut = int(np.argmax(gaps)) + 1
    if min(cut, len(values) - cut) < 2:
        return False
    widest = max(np.ptp(values[:cut]), np.ptp(values[cut:]), 0.1 * middle)
    return bool(gaps[cut - 1] > widest)
