"""Paired ratios, their intervals, verdicts and flags."""

import sys
from dataclasses import astuple

import numpy as np
import pytest
from scipy import stats

from nnbench.figures import statistics
from nnbench.figures.statistics import Interval


def noisy(ratio, pairs, noise, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.uniform(1, 2, pairs)  # the machine drifts; pairs drift together
    return (base * ratio * np.exp(rng.normal(0, noise, pairs))).tolist(), base.tolist()


def compare(times, others):
    """Compare paired times."""
    return statistics.compare(np.log(np.divide(times, others)).tolist())


def bootstrap(statistic, *samples):
    """Return the 95% interval of a statistic, from 9999 resamples of each sample."""
    rng = np.random.default_rng(0)
    drawn = [
        np.take(sample, rng.integers(0, len(sample), (9999, len(sample)))) for sample in samples
    ]
    return pytest.approx(np.quantile(statistic(*drawn), [0.025, 0.975]).tolist(), rel=1e-12)


@pytest.mark.parametrize("pairs", [2, 3, 5, 6, 10, 30])
@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_exact_ratio_is_found_without_noise(pairs, ratio):
    found = compare(*noisy(ratio, pairs, noise=0))
    assert found.pairs == pairs
    assert found.ratio == pytest.approx(ratio)
    assert (found.interval.low, found.interval.high) == pytest.approx((ratio, ratio))


@pytest.mark.parametrize(("pairs", "has_ranks"), [(1, False), (9, False), (10, True)])
def test_what_is_needed_is_imported_beforehand(monkeypatch, pairs, has_ranks):
    needed = ["scipy.special", "scipy.stats"]
    for name in needed:
        monkeypatch.delitem(sys.modules, name, raising=False)
    statistics.import_libraries(pairs)
    assert [name in sys.modules for name in needed] == [True, has_ranks]


@pytest.mark.parametrize("pairs", [2, 3, 6, 9])
def test_interval_of_few_pairs_is_students(pairs):
    logs = np.random.default_rng(pairs).normal(size=pairs)
    found = stats.ttest_1samp(logs, 0).confidence_interval(0.95)
    interval = statistics.interval(logs)
    assert np.log([interval.low, interval.high]).tolist() == pytest.approx(list(found))


@pytest.mark.parametrize("pairs", [10, 11, 50, 200])
def test_interval_of_ten_pairs_is_what_the_signed_rank_test_keeps(pairs):
    logs = np.random.default_rng(pairs).standard_t(3, pairs)
    interval = statistics.interval(logs)
    for end, outwards in ((interval.low, -1e-9), (interval.high, 1e-9)):
        kept, lost = (
            stats.wilcoxon(logs - np.log(end) - shift, method="exact").pvalue
            for shift in (-outwards, outwards)
        )
        assert lost <= 0.05 < kept


def test_interval_of_more_than_200_pairs_is_the_percentile_bootstrap():
    logs = np.random.default_rng(0).normal(size=201)
    found = statistics.interval(logs)
    drawn = statistics.resampled_medians(logs, np.random.default_rng(0))
    expected = np.quantile(drawn, [0.025, 0.975]).tolist()
    assert np.log([found.low, found.high]).tolist() == pytest.approx(expected)


def test_interval_of_fewer_pairs_is_that_of_students_t():
    found = statistics.compare([1.0, 2.0, 3.0]).interval
    half = 4.302653 / 3**0.5  # t of 2 degrees of freedom at 97.5%
    assert np.log([found.ratio, found.low, found.high]) == pytest.approx([2, 2 - half, 2 + half])


def test_interval_of_few_pairs_contains_their_median():
    times = [1.0, 1.0, 1.0, 1.0, 10.0]
    found = compare(times, [1.0] * 5).interval
    assert (found.low <= 1, found.ratio, found.high > 10**0.2) == (True, 1, True)


def test_swapping_the_series_inverts_the_ratio():
    times, others = noisy(1.3, 9, 0.02)
    there, back = compare(times, others), compare(others, times)
    assert there.ratio * back.ratio == pytest.approx(1)
    assert (there.verdict, back.verdict) == ("slower", "faster")


def test_single_pair_has_a_ratio_and_nothing_else():
    found = compare([2.0], [1.0])
    assert (found.ratio, found.interval, found.p_value) == (2.0, None, None)
    assert found.verdict == "inconclusive"


@pytest.mark.parametrize("pairs", [2, 3, 9, 10, 30])
def test_p_value_agrees_with_the_interval(pairs):
    for seed in range(40):
        found = compare(*noisy(1.03, pairs, 0.03, seed))
        excludes = not found.interval.low <= 1 <= found.interval.high
        assert (found.p_value <= 0.05) == excludes


@pytest.mark.parametrize(("pairs", "p_value"), [(3, 0.0741799), (10, 2 / 2**10)])
def test_p_value_is_that_of_t_then_of_the_signed_ranks(pairs, p_value):
    found = statistics.compare([1.0, 2.0, 3.0, *range(4, pairs + 1)])
    assert found.p_value == pytest.approx(p_value)


def test_identical_series_are_the_same():
    found = compare([1.0] * 8, [1.0] * 8)
    assert (found.verdict, found.p_value) == ("same", None)


def test_there_must_be_a_pair():
    with pytest.raises(ValueError, match=r"^there must be at least one pair$"):
        statistics.compare([])


@pytest.mark.parametrize(
    ("low", "ratio", "high", "verdict"),
    [
        (1.06, 1.10, 1.20, "slower"),
        (1.01, 1.10, 1.20, "slower"),  # excludes 1, and the ratio is beyond the floor
        (1.01, 1.04, 1.08, "inconclusive"),  # the ratio is within the floor, the interval not
        (0.99, 1.10, 1.20, "inconclusive"),
        (0.80, 0.90, 0.98, "faster"),
        (0.80, 0.90, 1.01, "inconclusive"),
        (0.96, 1.00, 1.04, "same"),
        (0.96, 1.00, 1.06, "inconclusive"),
        (1.01, 1.02, 1.03, "same"),  # a difference, but below what this machine can tell
        (0.80, 0.96, 0.98, "inconclusive"),
        (1.00, 1.10, 1.20, "inconclusive"),  # 1 itself is not excluded
        (0.80, 0.90, 1.00, "inconclusive"),
        (1.01, 1.05, 1.20, "inconclusive"),  # at the floor, not beyond
        (0.80, 1 / 1.05, 0.98, "inconclusive"),
        (1 / 1.05, 1.00, 1.05, "same"),
    ],
)
def test_verdict(low, ratio, high, verdict):
    assert statistics.decide(Interval(ratio, low, high), floor=0.05) == verdict


@pytest.mark.parametrize("pairs", [4, 5, 20])
def test_evidence_is_20_at_the_ends_of_an_interval_that_always_holds(pairs):
    logs = np.random.default_rng(pairs).normal(size=pairs)
    interval = statistics.anytime_interval(logs)

    def evidence(center):  # against it: the mixture's likelihood by its own, both of t
        freedom, weight = pairs - 1, 1 + statistics.MIXTURE * pairs
        t = (logs.mean() - center) / stats.sem(logs)
        return stats.t.pdf(t / weight**0.5, freedom) / weight**0.5 / stats.t.pdf(t, freedom)

    assert evidence(np.log(interval.low)) == pytest.approx(20)
    assert evidence(np.log(interval.high)) == pytest.approx(20)
    assert statistics.anytime_p(logs - np.log(interval.low)) == pytest.approx(0.05)
    assert statistics.anytime_p(logs + 9) == pytest.approx(1 / evidence(-9))


@pytest.mark.parametrize("pairs", [1, 2, 3])
def test_interval_that_always_holds_needs_four_pairs(pairs):
    logs = np.random.default_rng(pairs).normal(size=pairs)
    assert statistics.anytime_interval(logs) is None
    found = statistics.compare(logs.tolist(), 0.01, detect=0.03)
    assert (found.interval, found.verdict) == (None, "inconclusive")


def test_interval_that_always_holds_is_wider_than_that_of_one_look():
    logs = np.random.default_rng(0).normal(size=8)
    once, always = statistics.interval(logs), statistics.anytime_interval(logs)
    assert always.low < once.low < always.ratio == once.ratio < once.high < always.high


def test_pairs_that_do_not_vary_have_an_exact_interval_and_no_p():
    found = statistics.compare([0.0] * 4, 0.01, detect=0.03)
    assert (found.interval, found.p_value) == (Interval(1.0, 1.0, 1.0), None)
    assert (found.verdict, found.stdev) == ("same", 0.0)


def test_evidence_for_nothing_is_a_p_of_1():
    assert statistics.anytime_p(np.array([-1.0, 1.0, -2.0, 2.0])) == 1.0


@pytest.mark.parametrize(
    ("low", "ratio", "high", "verdict"),
    [
        (0.98, 1.00, 1.02, "same"),  # beyond the floor, but within what is looked for
        (0.98, 1.00, 1.031, "inconclusive"),
        (1.001, 1.012, 1.02, "slower"),  # found, though it is less than what is looked for
        (1.001, 1.009, 1.02, "same"),
        (0.96, 0.98, 0.999, "faster"),
    ],
)
def test_verdict_on_what_is_looked_for(low, ratio, high, verdict):
    assert statistics.decide(Interval(ratio, low, high), 0.01, detect=0.03) == verdict


@pytest.mark.parametrize(("stdev", "detect"), [(0.01, 0.03), (0.03, 0.03), (0.001, 0.5)])
def test_rounds_are_as_many_as_leave_no_interval_undecided(stdev, detect):
    rounds = statistics.rounds_for(stdev, detect)

    def length(pairs):
        logs = np.tile([1.0, -1.0], pairs)[:pairs]
        logs *= stdev / logs.std(ddof=1)
        found = statistics.anytime_interval(logs)
        return np.log(found.high / found.low) if found else np.inf

    assert length(rounds) <= np.log1p(detect) < length(rounds - 1)


@pytest.mark.parametrize("detect", [5e-324, 1e-300])
def test_what_no_rounds_find_takes_all_there_are(detect):
    assert statistics.rounds_for(100.0, detect) == 10**15


@pytest.mark.parametrize("logs", [[800.0, 801.0], [-800.0, -801.0], [60.0, -60.0], [800.0] * 300])
def test_ratio_beyond_all_numbers_is_a_number(logs):
    found = statistics.compare(logs)
    ends = (found.interval.low, found.interval.ratio, found.interval.high)
    assert 0 < min(found.ratio, *ends) <= max(found.ratio, *ends) < np.inf


@pytest.mark.parametrize("pairs", [3, 6, 9])
def test_what_is_findable_is_found_in_four_of_five(pairs):
    rng = np.random.default_rng(pairs)
    slowdown = statistics.findable(0.02, pairs, floor=0.001)
    trials = rng.normal(np.log1p(slowdown), 0.02, (1500, pairs)).tolist()
    found = [statistics.compare(logs, 0.001).verdict == "slower" for logs in trials]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_what_is_findable_lies_beyond_the_floor():
    assert statistics.findable(0.001, 10, floor=0.05) == pytest.approx(0.05, abs=0.001)
    assert statistics.findable(0.001, 10, floor=0.05) > 0.05


@pytest.mark.parametrize("pairs", [4, 10])
def test_what_is_findable_beyond_a_limit_is_found_in_four_of_five(pairs):
    rng = np.random.default_rng(pairs)
    slowdown = statistics.findable_beyond(0.02, pairs, limit=0.05)
    trials = rng.normal(np.log1p(slowdown), 0.02, (1500, pairs))
    lows = [statistics.anytime_interval(logs).low for logs in trials]
    assert np.mean([low > 1.05 for low in lows]) == pytest.approx(0.8, abs=0.1)


def test_holm_multiplies_by_the_number_of_remaining_tests():
    assert statistics.holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []


@pytest.mark.parametrize("values", [2, 5, 6, 20])
def test_independent_samples_give_the_ratio_of_medians(values):
    times, _ = noisy(1.0, values, 0.01)
    found = statistics.ratio_of_medians([2 * t for t in times], times)
    assert found.ratio == pytest.approx(2)
    assert found.low <= 2 <= found.high


@pytest.mark.parametrize(("values", "others"), [(6, 6), (6, 20), (25, 12)])
def test_interval_of_six_values_each_is_the_percentile_bootstrap(values, others):
    x, y = noisy(1.0, values, 0.1, 1)[0], noisy(1.0, others, 0.1, 2)[0]
    found = statistics.ratio_of_medians(x, y)
    expected = bootstrap(
        lambda one, other: np.median(one, axis=1) - np.median(other, axis=1), np.log(x), np.log(y)
    )
    assert np.log([found.low, found.high]).tolist() == expected


def test_interval_of_fewer_values_is_that_of_welchs_t():
    x, y = [1.0, 3.0, 5.0], [0.8, 1.0, 1.2, 1.0]  # squared standard errors 4/3 and 1/150
    half = 4.262053 * (4 / 3 + 1 / 150) ** 0.5  # t of 2.02 degrees of freedom at 97.5%
    expected = pytest.approx([2, 2 - half, 2 + half])
    found = statistics.ratio_of_medians(np.exp(x).tolist(), np.exp(y).tolist())
    assert np.log([found.ratio, found.low, found.high]).tolist() == expected
    assert list(astuple(statistics.difference(x, y))) == expected


def test_values_that_are_nearly_the_same_have_an_interval():
    x, y = 1 + 1e-15 * np.arange(3), 1 + 2e-15 * np.arange(4)
    found = statistics.difference(x.tolist(), y.tolist())
    assert -1e-14 < found.low < found.ratio < 0 < found.high < 1e-14


def test_difference_of_pairs_has_students_interval():
    found = statistics.paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    half = 4.302653 / 3**0.5
    assert list(astuple(found)) == pytest.approx([2, 2 - half, 2 + half])
    two = statistics.paired_difference([1.0, 4.0], [1.0, 2.0])
    assert list(astuple(two)) == pytest.approx([1, 1 - 12.706205, 1 + 12.706205])
    assert statistics.paired_difference([1.0], [2.0]) is None


def test_independent_samples_need_two_values_each():
    assert statistics.ratio_of_medians([1.0], [1.0, 2.0]) is None
    assert statistics.difference([1.0, 2.0], [1.0]) is None


def test_difference_without_variation_is_exact():
    assert statistics.difference([0.5, 0.5], [0.25, 0.25]) == Interval(0.25, 0.25, 0.25)


@pytest.mark.parametrize(
    ("times", "unstable"),
    [
        ([1.0, 1.01, 0.99, 1.02], False),
        ([1.0, 1.0], False),  # too few to tell
        ([1.0, 1.2, 0.8, 1.1, 0.9], True),  # spread
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.6], True),  # one far above
        ([1.0, 1.0, 1.0, 1.0, 1.0, 0.4], True),  # one far below
        ([1.0, 1.01, 1.02, 1.01, 1.0, 1.01, 1.25, 1.26], True),  # two groups
        ([1.0, 1.01, 1.02], False),
        ([1.0, 1.0, 1.6], True),
        ([9.5, 9.5, 10.0, 10.5, 10.5], False),  # the middle half spreads over 10%, not more
        ([1.0, 1.0, 1.0, 1.0, 1.0, 1.5], False),  # 50% away, not more
        ([1.0, 1.0, 1.0, 1.0, 1.0, 0.5], False),
        ([1.0] * 7 + [1.3], False),  # one is no group
        ([0.7] + [1.0] * 7, False),
        ([1.0] * 6 + [1.05] * 2, False),  # a narrow gap
        ([10.0] * 6 + [11.0] * 2, False),  # a gap of 10%, not more
        ([0.6, 0.75, 0.9] + [1.06] * 10, False),  # the lower group is wider than the gap
        ([1.0] * 10 + [1.16, 1.31, 1.46], False),  # the upper group is
    ],
)
@pytest.mark.parametrize("unit", [1.0, 2.0**-10, 2.0**10])
def test_unstable_series_are_flagged(times, unstable, unit):
    assert statistics.is_unstable([t * unit for t in times]) == unstable


@pytest.mark.parametrize("size", [41, 42, 44])
def test_medians_of_many_have_the_distribution_of_resampled_ones(monkeypatch, size):
    values = np.random.default_rng(size).normal(size=size)
    whole = statistics.resampled_medians(values, np.random.default_rng(1))
    monkeypatch.setattr(statistics, "MANY", 40)
    drawn = statistics.resampled_medians(values, np.random.default_rng(2))
    assert len(drawn) == len(whole) == statistics.RESAMPLES
    assert stats.ks_2samp(drawn, whole).statistic < 0.03  # of equal ones 99.9% are below 0.028


def test_interval_of_a_million_values_needs_no_resamples_of_them():
    logs = np.random.default_rng(0).normal(size=1_000_001)
    found = statistics.interval(logs)
    error = 1.2533 * 1e-3  # of a median, √(π/2) that of a mean
    assert np.log(found.low / found.ratio) == pytest.approx(-1.96 * error, rel=0.05)
    assert np.log(found.high / found.ratio) == pytest.approx(1.96 * error, rel=0.05)


@pytest.mark.parametrize("size", [1, 2, 3, 6, 7, 100])
@pytest.mark.parametrize("shape", [(), (20,), (3, 4)])
def test_median_of_the_bootstrap_is_that_of_numpy(size, shape):
    values = np.random.default_rng(size).normal(size=(*shape, size))
    assert statistics._medians(values).tolist() == np.median(values, axis=-1).tolist()


@pytest.mark.parametrize("size", [2, 41, 100, 9999])
def test_percentiles_of_the_bootstrap_are_those_of_numpy(size):
    values = np.random.default_rng(size).normal(size=size)
    expected = np.quantile(values, [0.025, 0.975]).tolist()
    assert statistics._percentiles(values) == pytest.approx(expected)
