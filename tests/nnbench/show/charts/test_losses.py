"""Losses are thinned without bias."""

import numpy as np
import pytest

from nnbench.show.charts.training import BINS, _edges, _means, _sums, losses


def binned(curves, edges):
    return _means(sum(_sums(edges[:-1], curve) for curve in curves))


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
    curve = np.random.default_rng(0).uniform(0.1, 2, steps)
    edges = _edges(steps)
    points = binned([curve], edges)
    means = np.array([value for _, value in points])
    assert np.average(means, weights=np.diff(edges)) == pytest.approx(curve.mean(), rel=1e-4)
    assert points[0][0] == 1.0
    assert points[0][1] == pytest.approx(curve[0], rel=1e-4)


def test_bins_are_means_over_rounds_of_any_length():
    points = binned([np.array([1.0, 2.0, 3.0]), np.array([3.0])], np.array([0, 1, 3]))
    assert points == [(1.0, 2.0), (2.5, 2.5)]


def test_loss_that_is_not_finite_is_a_gap():
    points = binned([np.array([1.0, np.nan, 3.0])], np.array([0, 1, 2, 3]))
    assert points == [(1.0, 1.0), (2.0, None), (3.0, 3.0)]


def test_those_that_were_proved_to_be_the_same_have_one_line(make_run, make_cell):
    cells = [
        make_cell("numpy", losses=(2.0, 1.0)),
        make_cell("other", losses=(4.0, 1.0), train_s=2.0),
        make_cell("unproved", losses=(8.0, 1.0), train_s=3.0, proof=None),
    ]
    figure = losses(make_run(*cells), COLORS | {"unproved": "#222222"})
    first = {r["backend"]: r["loss"] for r in figure.records["losses"] if r["step"] == 1}
    assert first == {"2 backends, proved to be the same": 3.0, "unproved": 8.0}
    assert figure.caption.startswith("One line is that of numpy, other: ")


def test_loss_shows_backends_without_a_rank(make_run, make_cell, make_failed):
    wrong = make_cell("other", losses=(2.0, None), status="diverged")
    figure = losses(make_run(make_cell("numpy"), wrong, make_failed("gone")), COLORS)
    assert {record["backend"] for record in figure.records["losses"]} == {"numpy", "other"}
