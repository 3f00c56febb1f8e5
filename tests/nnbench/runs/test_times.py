"""Blocks side by side: what they took says how many fit, and when so many are over."""

import pytest

from nnbench.runs.times import Times


@pytest.fixture
def times(clock):
    """Give the times of blocks of which two took 10 s and 30 s, and two run since 5 s and 15 s, on three places."""
    made = Times()
    for number, took in enumerate((10.0, 30.0)):
        made.begin(number)
        clock.now += took
        made.end(number)
    made.slots = 3
    made.begin(2)
    clock.now += 10.0
    made.begin(3)
    made.begin(3)  # which it has
    clock.now += 5.0
    return made


def test_a_block_takes_what_it_did_in_the_mean(times):
    assert (times.given, times.block_s, times.longest_s) == (4, 20.0, 30.0)


def test_block_that_runs_may_be_the_longest(times, clock):
    clock.now += 30.0
    assert times.longest_s == 45.0


def test_blocks_fit_where_a_place_is_or_becomes_free(times):
    # places are free at once, and in 5 s and 15 s
    assert [times.fitting(seconds) for seconds in (19, 20, 25, 34, 35, 60)] == [0, 1, 2, 2, 3, 7]


@pytest.mark.parametrize(
    ("more", "seconds"),
    [(0, 15), (1, 20), (2, 25), (3, 35), (4, 40), (5, 45), (6, 55), (3000, 20015)],
)
def test_blocks_are_over_when_the_last_one_is(times, more, seconds):
    assert times.needed_s(more, 20.0) == seconds


def test_one_after_the_other_takes_what_is_left_and_all_others(clock):
    times = Times()
    times.begin(0)
    clock.now += 5.0
    assert times.needed_s(3, 20.0) == 75.0
    assert times.block_s is None


def test_places_may_become_fewer_than_blocks_run(times, clock):
    times.slots = 1
    assert times.needed_s(2, 20.0) == 35.0
    clock.now += 100.0  # longer than any before
    assert times.needed_s(0, 20.0) == 0.0


def test_lost_block_is_none(times):
    times.drop(3)
    times.end(3)
    assert (times.given, times.took_s) == (3, [10.0, 30.0])
