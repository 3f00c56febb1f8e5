"""All images are predicted where there is time for that; otherwise as many as fit, and one at least."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnbench.execution.evaluations import FEW, TRIES, Evaluations


def evaluate(evaluations, image_s, first_s=0.0):
    """Make an evaluation of a backend with a pace, whose first call takes longer; give what it was asked."""
    asked = []
    for count in evaluations.counts():
        asked.append(count)
        is_first = evaluations.image_s is None
        evaluations.note(count, count * image_s + (first_s if is_first else 0.0))
    return asked


def test_fast_backend_predicts_all_after_a_few():
    evaluations = Evaluations(10_000, 2.0)
    assert evaluate(evaluations, 1e-6) == [FEW, 10_000]
    assert evaluate(evaluations, 1e-6) == [10_000]  # its pace is known


def test_backend_that_compiles_first_is_not_taken_for_slow():
    assert evaluate(Evaluations(10_000, 2.0), 1e-6, first_s=0.5) == [FEW, FEW, 10_000]


def test_backend_that_was_disturbed_is_not_taken_for_slow():
    evaluations, paces = Evaluations(10_000, 2.0), iter([2**-10, 2**-10, 2**-20, 2**-20])
    asked = []
    for count in evaluations.counts():
        asked.append(count)
        evaluations.note(count, count * next(paces))
    assert asked == [FEW, FEW, 924, 10_000]


def test_small_split_is_asked_for_once():
    assert evaluate(Evaluations(5, 2.0), 1e-3) == [5]
    assert evaluate(Evaluations(5, 2.0), 1e-3, first_s=0.9) == [5]


def test_slow_backend_predicts_what_fits_into_half_of_what_is_left():
    evaluations = Evaluations(10_000, 20.0)
    assert evaluate(evaluations, 0.01) == [FEW, FEW, 900]
    assert evaluations.spent_s == pytest.approx(10.0)
    assert evaluate(evaluations, 0.01) == [500]


def test_few_that_took_too_long_are_all_that_counts():
    evaluations = Evaluations(10_000, 2.0)
    assert evaluate(evaluations, 0.05) == [FEW]
    assert evaluate(evaluations, 0.05) == [1]  # nothing is left


@given(
    images=st.integers(1, 100_000),
    budget_s=st.floats(1e-3, 1e3),
    paces=st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=10),
    first_s=st.floats(0, 10.0),
)
def test_evaluations_keep_to_the_budget(images, budget_s, paces, first_s):
    """Beyond it there is nothing but what cannot be less: a few images to see, and one for each evaluation."""
    evaluations = Evaluations(images, budget_s)
    for number, image_s in enumerate(paces):
        before, known = evaluations.spent_s, evaluations.image_s
        asked = evaluate(evaluations, image_s, 0.0 if number else first_s)
        assert asked
        assert all(1 <= count <= images for count in asked)
        assert asked[-1] == max(asked)
        slower = max(image_s / known, 1.0) if known else 1.0  # than could be known
        half_s = max(0.0, budget_s - before) / 2
        least_s = (0.0 if number else first_s) + (TRIES * FEW + 1) * image_s
        assert evaluations.spent_s - before <= slower * half_s + least_s + 1e-9
