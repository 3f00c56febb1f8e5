"""Losses are thinned without bias, and what is drawn over time is what was measured."""

import numpy as np
import pytest

from nnbench.report.figure import NothingToDrawError
from nnbench.report.figures import FIGURES
from nnbench.report.learning import BINS, MOST_EPOCHS, MOST_ROUNDS, _edges, accuracy, binned, loss

COLORS = {"numpy": "#000000", "other": "#111111"}


@pytest.mark.parametrize("steps", [1, 2, 7, 120, 121, 4690, 1_000_000])
def test_bins_cover_every_step_once(steps):
    edges = _edges(steps)
    assert (edges[0], edges[-1]) == (0, steps)
    assert np.all(np.diff(edges) >= 1)
    assert len(edges) <= BINS + 1
    assert min(steps, 5) == sum(np.diff(edges)[:5] == 1)  # the first ones stay apart


@pytest.mark.parametrize("steps", [1, 50, 4690])
def test_bins_keep_the_mean(steps):
    losses = np.random.default_rng(0).uniform(0.1, 2, steps)
    edges = _edges(steps)
    points = binned([losses], edges)
    means = np.array([value for _, value in points])
    assert np.average(means, weights=np.diff(edges)) == pytest.approx(losses.mean(), rel=1e-4)
    assert points[0][0] == 1.0
    assert points[0][1] == pytest.approx(losses[0], rel=1e-4)


def test_bins_are_means_over_rounds_of_any_length():
    points = binned([np.array([1.0, 2.0, 3.0]), np.array([3.0])], np.array([0, 1, 3]))
    assert points == [(1.0, 2.0), (2.5, 2.5)]


def test_loss_that_is_not_finite_is_a_gap():
    points = binned([np.array([1.0, np.nan, 3.0])], np.array([0, 1, 2, 3]))
    assert points == [(1.0, 1.0), (2.0, None), (3.0, 3.0)]


def test_loss_shows_backends_without_a_rank(make_source, make_cell, make_failed):
    wrong = make_cell("other", losses=(2.0, None), status="diverged")
    figure = loss(make_source(make_cell("numpy"), wrong, make_failed("gone")), COLORS)
    assert {record["backend"] for record in figure.records["losses"]} == {"numpy", "other"}


def test_time_is_of_training_alone_and_adds_up(make_source, make_cell):
    cell = make_cell("numpy", train_s=2.0, accuracies=(0.5, None, 0.75))
    found = accuracy(make_source(cell), COLORS).records["epochs"]
    assert [(r["epoch"], r["seconds"], r["value"]) for r in found] == [
        (1, 2.0, 50.0),
        (3, 6.0, 75.0),
    ]


def test_target_is_marked_where_the_table_has_it(make_source, make_cell):
    cells = [
        make_cell("numpy", train_s=s, accuracies=(0.9, 0.97), round=i)
        for i, s in enumerate((1.0, 2.0, 4.0))
    ]
    figure = accuracy(make_source(*cells, make_cell("other", accuracies=(0.5,))), COLORS)
    [target] = figure.records["targets"]
    assert (target["backend"], target["seconds"]) == ("numpy", 4.0)  # the median of 2, 4, 8
    assert target["reached"] == "3 of 3 rounds"
    [goal] = figure.records["goal"]
    assert (goal["value"], goal["text"]) == (pytest.approx(96.1), "target 96.1%")


def test_times_to_the_target_are_not_written_over_each_other(make_source, make_cell):
    times = {"a": 1.0, "b": 1.1, "c": 2.0}
    cells = [make_cell(name, train_s=s, accuracies=(0.97,)) for name, s in times.items()]
    figure = accuracy(make_source(*cells), dict.fromkeys(times, "#000000"))
    assert [r["text"] for r in figure.records["targets"]] == ["1.00 s", "", "2.00 s"]


def test_many_rounds_and_epochs_are_thinned_and_told(make_source, make_cell):
    count = MOST_ROUNDS + 5
    cells = [make_cell("numpy", accuracies=(0.5,) * 250, round=i) for i in range(count)]
    figure = accuracy(make_source(*cells), COLORS)
    records = figure.records["epochs"]
    assert {r["round"] for r in records} == set(range(1, MOST_ROUNDS + 1))
    assert len(records) <= MOST_ROUNDS * MOST_EPOCHS
    assert max(r["epoch"] for r in records) == 250
    assert f"the first {MOST_ROUNDS} of {count} rounds" in figure.caption
    assert "One epoch in 3" in figure.caption


@pytest.mark.parametrize("name", FIGURES)
def test_run_without_cells_has_no_figures(make_source, name):
    with pytest.raises(NothingToDrawError):
        FIGURES[name](make_source(), COLORS)
