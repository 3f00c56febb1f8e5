"""Changes of level: what is found, where, and what is not."""

import numpy as np
import pytest

from nnbench.figures import changes
from tests.studies.changes import STEP, correlated, equal, heavy, normal, stepped


def series(*levels, count=20, noise=0.02, seed=0):
    rng = np.random.default_rng(seed)
    return [level + noise * value for level in levels for value in rng.normal(size=count)]


def places(values):
    return [change.at for change in changes.find(values)]


def test_step_is_found_where_it_is():
    [change] = changes.find(series(0, 0.1))
    assert (change.at, change.low, change.high) == (20, 20, 20)
    assert change.p_value == 0.0005


def test_each_of_several_steps_is_found():
    assert places(series(0, 0.1, 0.2, 0.1)) == [20, 40, 60]


def test_what_comes_and_goes_is_found_at_both_ends():
    values = np.array(series(0, count=40))
    values[15:25] += 0.1
    assert places(values.tolist()) == [15, 25]


def test_interval_is_wide_where_a_step_is_small():
    [change] = changes.find(series(0, 0.03, seed=3))
    assert change.low < change.at <= change.high
    assert change.high - change.low >= 3


def test_nothing_is_found_in_too_few_or_in_equal_values():
    assert changes.find([]) == []
    assert changes.find([0.0] * 5 + [9.0] * 6) == []
    assert changes.find([0.0] * 6 + [9.0] * 6) != []
    assert changes.find([1.0] * 50) == []


def test_values_that_are_often_equal_have_ranks_between():
    values = [0.0, 0.0, 0.0, 1e-4] * 5 + [1e-4, 1e-4, 1e-4, 0.0] * 5
    assert changes.find(values * 1) == changes.find([1e3 * value for value in values])
    assert places([0.0, 1e-4] * 20) == []
    assert places([0.0] * 20 + [1e-4] * 20) == [20]


def test_one_value_far_away_is_no_change():
    values = series(0, count=30)
    values[20] += 5
    assert changes.find(values) == []


def test_same_series_has_the_same_changes():
    values = series(0, 0.03, seed=5)
    assert changes.find(values) == changes.find(values)


def test_neighbours_that_are_alike_are_told_from_changes():
    assert not changes.are_correlated(series(0, 0.2), changes.find(series(0, 0.2)))
    assert changes.are_correlated(series(0, 0.2))
    assert changes.are_correlated(np.cumsum(series(0, count=40)).tolist())
    assert not changes.are_correlated([1.0] * 40)
    assert not changes.are_correlated([1.0, 2.0])


def test_small_study_finds_steps_and_few_others():
    """The large one is ``python -m tests.studies.changes``."""

    def percent(text):
        return float(text.rstrip("%"))

    assert percent(equal(normal, 40, 100)[0]) <= 4
    assert percent(equal(heavy, 40, 100)[0]) <= 4
    assert percent(equal(correlated, 40, 60)[1]) >= 50
    assert percent(stepped(normal, 40, 20, 20)[0]) >= 95
    assert pytest.approx(np.log(1.05)) == STEP
