"""A run that looks for a difference ends when every verdict is in, and not before."""

import pytest

from nnbench.runs import detection
from nnbench.runs.run import Run

STEADY = (1.0, 1.001, 0.999, 1.0005, 1.0, 0.9995)


@pytest.fixture
def make_run(make_cell, make_info):
    """Give a function that makes a run of backends from their times, that looks for 10%."""

    def make(rounds=6, **times):
        cells = [
            make_cell(name, round=i, train_s=s)
            for name, all_of_it in {"numpy": (1.0,) * 6, **times}.items()
            for i, s in enumerate(all_of_it[:rounds])
        ]
        return Run(make_info(*dict.fromkeys(["numpy", *times]), detect=0.1, rounds=100), cells)

    return make


def test_run_is_over_when_each_backend_differs_or_does_not(make_run):
    assert detection.is_over(make_run(a=STEADY, b=tuple(1.2 * s for s in STEADY)))


def test_one_backend_without_a_verdict_keeps_it_going(make_run):
    run = make_run(a=STEADY, b=(1.0, 1.4, 0.7, 1.3, 0.9, 1.2))
    assert not detection.is_over(run)
    assert list(detection.undecided(run)) == ["b"]


def test_three_rounds_are_never_enough(make_run):
    assert not detection.is_over(make_run(rounds=3, a=STEADY))
    assert detection.is_over(make_run(rounds=4, a=STEADY))


def test_backend_that_cannot_rank_is_not_waited_for(make_run, make_failed):
    run = make_run(a=STEADY)
    assert detection.is_over(Run(run.info, [*run.cells, make_failed("b")]))


def test_no_run_is_over_before_it_began(make_info, make_failed):
    info = make_info("numpy", detect=0.1)
    assert not detection.is_over(Run(info, []))
    assert not detection.is_over(Run(info, [make_failed("b", status="skipped")]))


def test_nothing_is_waited_for_without_a_baseline(make_run):
    run = make_run(a=STEADY)
    cells = [cell for cell in run.cells if cell.backend != "numpy"]
    assert detection.is_over(Run(run.info, cells))
