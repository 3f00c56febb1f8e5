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


def test_block_is_best_summed_up_by_its_median_where_parts_are_disturbed():
    def spread(name):
        estimate = coverage.ESTIMATORS[name]
        return coverage.spread(estimate, lambda rng, n: coverage.turns(rng, n, 0.4), 45, 200)

    assert min(coverage.ESTIMATORS, key=spread) == "median"
