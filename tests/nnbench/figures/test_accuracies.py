"""Accuracies in pairs: what is a finding, what rounding does, and what nobody can tell."""

import math
from dataclasses import replace

import pytest
from scipy import stats

from nnbench.figures import accuracies, statistics
from nnbench.figures.accuracies import compare, compare_apart, pair

TEST_IMAGES = 10_000


@pytest.fixture
def cells(make_cell):
    """Give a function that makes a cell for each number of right answers, in rounds of their own."""

    def make(*right, test_images=TEST_IMAGES, **changes):
        return [
            make_cell(
                round=i,
                seed=10 + i,
                accuracies=(count / TEST_IMAGES,),
                test_images=test_images,
                **changes,
            )
            for i, count in enumerate(right)
        ]

    return make


@pytest.fixture
def verdict(cells):
    """Give a function that compares accuracies, in images, with those of as many rounds of another."""

    def of(right, others, confidence=accuracies.CERTAINTY):
        return compare(pair(cells(*right), cells(*others)), confidence).verdict

    return of


@pytest.mark.parametrize("rounds", [1, 2, 3, 5, 10])
def test_two_points_and_a_half_are_a_finding_in_any_number_of_rounds(verdict, rounds):
    base = [9600 + 7 * i for i in range(rounds)]
    other = [count - 240 + (-1) ** i * 15 for i, count in enumerate(base)]
    assert (verdict(other, base), verdict(base, other)) == ("lower", "higher")


@pytest.mark.parametrize("rounds", [1, 2, 3, 10])
def test_differences_that_vary_are_a_finding_if_they_are_large_enough(verdict, rounds):
    others = [9400 - 120 * (i % 2) for i in range(rounds)]  # Student's interval is wide
    assert verdict(others, [9640] * rounds) == "lower"


def test_small_difference_in_every_round_takes_several(verdict):
    steps, base = [24, 26, 25, 25, 24, 26, 25, 24], [9640] * 8
    assert verdict([9640 - 25], [9640]) == "inconclusive"
    assert verdict([b - s for b, s in zip(base, steps, strict=True)], base) == "lower"
    assert verdict([b + s for b, s in zip(base, steps, strict=True)], base) == "higher"


@pytest.mark.parametrize("rounds", [1, 2, 10])
def test_equal_accuracies_are_the_same(verdict, rounds):
    assert verdict([9640] * rounds, [9640] * rounds) == "same"


def test_few_images_are_no_finding_however_sure_they_are(verdict):
    assert verdict([9632] * 20, [9640] * 20) == "same"
    assert verdict([9632, 9633] * 10, [9640, 9641] * 10) == "same"
    assert verdict([9632, 9633] * 10, [9640, 9640] * 10) == "same"  # Student's excludes 0


def test_one_round_beyond_the_floor_is_not_the_same(verdict):
    assert verdict([9640, 9640, 9620], [9640] * 3) == "inconclusive"


def test_differences_of_both_signs_are_no_finding(verdict):
    assert verdict([9600, 9680, 9610, 9670], [9640] * 4) == "inconclusive"


def test_floor_is_a_third_of_the_noise(cells):
    found = compare(pair(cells(9600), cells(9700)))
    assert found.floor == pytest.approx(math.sqrt(400 + 300) / TEST_IMAGES / 3)
    found = compare(pair(cells(400), cells(300)))  # so few right ones cannot differ by more
    assert found.floor == pytest.approx(math.sqrt(400 + 300) / TEST_IMAGES / 3)


def test_single_pair_has_the_interval_of_the_noise(cells):
    found = compare(pair(cells(9600), cells(9700)), 0.9)
    half = (stats.norm.ppf(0.975) * math.sqrt(700) + 1) / TEST_IMAGES
    assert (found.pairs, found.mean) == (1, pytest.approx(-0.01))
    assert found.interval.low == pytest.approx(-0.01 - half)
    assert found.interval.high == pytest.approx(-0.01 + half)


def test_equal_differences_have_the_interval_of_the_noise(cells):
    found = compare(pair(cells(9600, 9602, 9604, 9606), cells(9650, 9652, 9654, 9656)), 0.9)
    half = (stats.norm.ppf(0.975) * math.sqrt(744 / 4) + 1 / 4) / TEST_IMAGES
    assert found.interval.high - found.mean == pytest.approx(half)


def test_differences_that_vary_little_have_students_interval(cells):
    found = compare(pair(cells(9601, 9603, 9602), cells(9650, 9650, 9650)), 0.9)
    half = stats.t.ppf(0.975, 2) * stats.sem([49, 47, 48]) / TEST_IMAGES
    assert found.mean == pytest.approx(-48 / TEST_IMAGES)
    assert found.interval.high - found.mean == pytest.approx(half)
    assert found.mean - found.interval.low == pytest.approx(half)


@pytest.mark.parametrize(("wrong", "expected"), [(7, "inconclusive"), (12, "lower")])
def test_few_errors_are_judged_as_by_the_exact_test(make_cell, wrong, expected):
    base, other = (
        make_cell(accuracies=(1 - count / 100,), test_images=100) for count in (0, wrong)
    )
    found = compare([(other, base)], 1 - 4 * 0.001)  # the tail of each interval is 0.1%
    assert found.verdict == expected
    assert (stats.binomtest(0, wrong).pvalue / 2 < 0.001) == (expected == "lower")


def test_all_right_on_both_sides_is_the_same(make_cell):
    found = compare([(make_cell(accuracies=(1.0,), test_images=30),) * 2])
    assert (found.verdict, found.floor) == ("same", 0)


def test_rounds_that_one_side_lacks_make_no_pairs(cells):
    one, other = cells(9640, 9000, 9640), cells(9640, 9640, 9640)
    del one[1]
    assert compare(pair(one, other)).pairs == 2
    assert compare(pair(one[:1], other[1:])) is None


def test_rounds_pair_whatever_their_order(cells):
    found = compare(pair(cells(9640, 9500), cells(9640, 9500)[::-1]))
    assert (found.pairs, found.verdict) == (2, "same")


def test_pairs_may_be_those_of_the_seeds(cells):
    one = [replace(cell, round=cell.round + 5) for cell in cells(9640, 9500)]
    assert not pair(one, cells(9640, 9500))
    assert [a.seed == b.seed for a, b in pair(one, cells(9640, 9500), "seed")] == [True] * 2


def test_trainings_of_other_lengths_make_no_pairs(cells):
    assert not pair(cells(9640), cells(9640, images=99))


@pytest.mark.parametrize("accuracy", [None, math.nan])
def test_cells_without_an_accuracy_make_no_pairs(make_cell, accuracy):
    without = make_cell(accuracies=(accuracy,), test_images=30)
    assert not pair([without], [make_cell(test_images=30)])
    assert not pair([make_cell(test_images=30)], [without])
    assert compare_apart([without] * 3, [make_cell(test_images=30)] * 3) is None


def test_cells_that_failed_or_are_wrong_make_no_pairs(make_cell, make_failed):
    for bad in (make_failed(), make_cell(status="invalid")):
        assert not pair([bad], [make_cell()])
        assert not pair([make_cell()], [bad])


def test_run_that_does_not_say_how_many_it_tested_has_no_verdict(cells):
    columns = [(0.96, 0.961, 0.959), (0.97, 0.9705, 0.97)]
    one, other = (
        cells(*(TEST_IMAGES * value for value in column), test_images=None) for column in columns
    )
    found = compare(pair(one, other), accuracies.CERTAINTY)
    assert (found.verdict, found.floor) == (None, 0)
    assert found.interval == statistics.paired_difference(*columns)
    assert compare(pair(one[:1], other[:1])).interval is None
    found = compare_apart(one, other)
    assert (found.verdict, found.interval) == (None, statistics.difference(*columns))


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([9640, 9650, 9630], "inconclusive"),
        ([9400, 9410, 9390], "lower"),
        ([9800, 9810, 9790], "higher"),
        ([9630, 9631, 9632], "inconclusive"),
    ],
)
def test_other_seeds_are_compared_as_independent_samples(cells, others, expected):
    found = compare_apart(cells(*others), cells(9640, 9655, 9625))
    assert (found.pairs, found.verdict) == (0, expected)


def test_independent_samples_are_the_same_within_the_floor(cells):
    assert compare_apart(cells(9640, 9641), cells(9640, 9641)).verdict == "same"


def test_independent_samples_need_two_of_one_length_on_each_side(cells):
    assert compare_apart(cells(9640), cells(9640, 9650)) is None
    assert compare_apart(cells(9640, 9650), cells(9640, 9650, images=99)) is None
    mixed = [*cells(9640, 9650), *cells(100, images=99)]
    assert compare_apart(mixed, cells(9640, 9650)).mean == 0


def test_numbers_that_are_documented():
    assert accuracies.CERTAINTY == 0.999
    assert pytest.approx(1 / 3) == accuracies.FLOOR
