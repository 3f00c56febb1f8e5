"""A training of which not all is proved is held against that of its seed, and no closer than rounding allows."""

import pytest

from nnbench.proof import courses
from nnbench.proof.calibration import FRESH
from nnbench.records.judging import Chosen, Conclude, Course, Evaluation, JudgeCell


def course(*losses):
    return Course([Evaluation(loss, 0.9) for loss in losses])


def found(make_cell, losses, right, rounded=None, whole=3):
    cell = JudgeCell(make_cell(), "sampled", FRESH, [])
    evaluations = {n: Evaluation(loss, 0.9) for n, loss in enumerate(losses, start=1)}
    return Conclude(cell, Chosen(whole=whole), [], evaluations, right, rounded)


RIGHT = course(1.0, 0.5, 0.25)


@pytest.mark.parametrize(
    ("losses", "rounded", "said"),
    [
        ([1.02, 0.51, 0.255], None, None),
        ([1.0, 0.5, 0.26], None, "the test loss after epoch 3 is 4.0e-02 off"),
        ([1.0, 0.4, 0.25], None, "the test loss after epoch 2 is 2.0e-01 off"),
        ([1.0, 0.5, None], None, "the test loss after epoch 3 is not finite"),
        (
            [1.0, 0.5, 0.26],
            course(1.0, 0.5, 0.2475),
            None,
        ),  # by rounding 1%: five times that is right
        ([1.0, 0.5, 0.26], course(1.0, 0.505, 0.25), None),  # likewise, and an epoch before
        ([1.0, 0.5, 0.27], course(1.0, 0.5, 0.2475), "more than 5e-02"),
        ([1.0, 0.5, 0.27], course(1.0, 0.5, 0.25), "more than 3e-02"),
        ([1.0, 0.5, 9.0], course(1.0, 0.5, None), None),
        ([1.0, 0.9, 0.25], course(1.0, 0.5, None), "after epoch 2"),
    ],
)
def test_test_losses_lie_where_those_of_the_seed_do(make_cell, losses, rounded, said):
    problem = courses.problem(found(make_cell, losses, RIGHT, rounded))
    assert problem is None if said is None else said in problem


def test_nothing_is_held_against_a_course_that_is_not_there_or_diverges(make_cell):
    assert courses.problem(found(make_cell, [1.0, 9.0], None)) is None
    assert courses.problem(found(make_cell, [1.0, 9.0], course(1.0, None, None))) is None
    assert courses.problem(found(make_cell, [1.0, 0.5, 9.0], RIGHT, whole=2)) is None
