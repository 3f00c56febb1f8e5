"""Intervals are right as often as they say: a small version of the study."""

import pytest

from tests.studies import coverage


@pytest.mark.parametrize("draw", coverage.DISTRIBUTIONS, ids=lambda draw: draw.__name__)
@pytest.mark.parametrize("pairs", [3, 6, 10])
def test_interval_holds_the_centre_in_95_of_100(draw, pairs):
    share = coverage.covered(draw, pairs, trials=1000, seed=1)
    assert share == pytest.approx(0.95, abs=0.03)


def test_study_sees_that_the_bootstrap_of_few_pairs_is_too_narrow():
    assert coverage.covered_by_bootstrap(coverage.normal, 7, trials=500, seed=1) < 0.92


@pytest.mark.parametrize("draw", coverage.DISTRIBUTIONS, ids=lambda draw: draw.__name__)
def test_difference_that_is_looked_for_is_found_and_none_is_made_up(draw):
    equal, slower = (coverage.seek(draw, ratio, 0.03, 0.01, 200) for ratio in (1.0, 1.03))
    assert equal.verdicts["slower"] + equal.verdicts["faster"] <= 10  # 5%
    assert slower.verdicts["slower"] >= 190
    assert min(equal.covered, slower.covered) > 0.92
