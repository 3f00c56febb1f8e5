"""The work of a block is divided so that several judges can share it."""

import pytest

from nnbench.proof import inquest
from nnbench.proof.calibration import FRESH
from nnbench.records.judging import (
    Choose,
    Chosen,
    Conclude,
    Course,
    Evaluate,
    Evaluation,
    Follow,
    JudgeCell,
    Judged,
    Prove,
    Proved,
)


@pytest.mark.parametrize("count", [0, 1, 31, 32, 33, 100, 1000])
def test_a_cell_is_divided_into_few_units_of_like_size(count):
    chosen = Chosen(units=[[n] for n in range(count)], steps=[10] * count)
    units = inquest._joined(chosen)
    assert [n for unit in units for n in unit] == [*range(count)]
    assert len(units) == min(count, 32)
    assert max(map(len, units), default=0) <= -(-count // 32)


def test_long_stretches_stand_alone():
    chosen = Chosen(units=[[n] for n in range(64)], steps=[1000, *[1] * 63])
    first, *_ = inquest._joined(chosen)
    assert first == [0]


def test_what_must_be_followed_in_turn_stays_together():
    chosen = Chosen(units=[[*range(100)]], steps=[10] * 100)
    assert inquest._joined(chosen) == [[*range(100)]]


@pytest.mark.parametrize(("loss", "asked"), [(0.5, [False]), (0.6, [False, True])])
def test_rounding_is_looked_at_only_where_it_may_matter(make_cell, loss, asked):
    cell, questions = JudgeCell(make_cell(), "sampled", FRESH, []), []

    def answer(question):
        questions.append(question)
        match question:
            case Choose():  # one of two stretches
                return Chosen(units=[[0]], ends={1: 0}, whole=1, steps=[1, 1])
            case Prove():
                return Proved([])
            case Follow():
                return Course([Evaluation(0.5, 0.9)])
            case Evaluate():
                return Evaluation(loss, 0.9)
            case Conclude():
                return Judged(question.cell.result)

    def ask(work):
        for question, take in work:
            take(answer(question))

    inquest.hold([cell] * 4, ask)
    assert [q.is_rounded for q in questions if isinstance(q, Follow)] == asked
    concluded = [q for q in questions if isinstance(q, Conclude)]
    assert [q.rounded is not None for q in concluded] == [True in asked] * 4
