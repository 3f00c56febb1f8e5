"""The losses that a training is held against, and how far it may stray."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nnbench import Optimizer
from nnbench.data.task import load_task
from nnbench.reference import train
from nnbench.testing.first_losses import deviation, expected_losses


@pytest.fixture
def make_task(mnist, folder):
    """Give a function that makes the task of a small dataset, with changes to its workload."""

    def make(seed=0, **changes):
        return load_task(replace(mnist, dataset=str(folder), **changes), seed)

    return make


def batches_of(task, size):
    """Yield the batches of the first epoch."""
    order = next(task.orders())
    for index in np.split(order, range(size, len(order), size)):
        yield task.train.rows(index)


@pytest.mark.parametrize(
    ("losses", "expected", "largest"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.1, 2.0], [1.0, 2.0], 0.1),
        ([1.1, 1.0], [1.0, 2.0], 0.5),
        ([1.0], [1.0, 99.0], 0.0),  # the training was shorter
        ([1.0, 2.0, 99.0], [1.0, 2.0], 0.0),  # it was longer
        ([1.5, None], [1.0, 1.0], 0.5),
        ([None, 1.5], [1.0, 1.0], 0.5),
        ([1.5, 1.0], [1.0, math.inf], 0.5),
        ([1e-13], [0.0], 0.1),
        ([-1.0], [1.0], 2.0),
        ([None], [1.0], None),
        ([math.nan], [1.0], None),
        ([1.0], [math.nan], None),
        ([], [1.0], None),
        ([1.0], [], None),
    ],
)
def test_deviation_is_the_largest_relative_one(losses, expected, largest):
    assert deviation(losses, expected) == (largest if largest is None else pytest.approx(largest))


def test_expected_losses_are_those_of_the_reference(make_task):
    task = make_task(batch_size=8, epochs=1)
    losses, _ = train(task.network, task.layers, batches_of(task, 8))
    assert expected_losses(task).losses == losses
    assert len(losses) == 8


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({"batch_size": 8, "epochs": 1}, 8),
        ({"batch_size": 8, "epochs": 2}, 16),
        ({"batch_size": 8, "epochs": 9}, 20),
        ({"batch_size": None, "epochs": 3}, 3),
    ],
)
def test_expected_losses_are_at_most_the_first_20(make_task, changes, steps):
    losses = expected_losses(make_task(**changes)).losses
    assert len(losses) == steps
    assert all(math.isfinite(loss) for loss in losses)


def test_expected_losses_follow_the_seed(make_task):
    assert expected_losses(make_task(seed=1)).losses == expected_losses(make_task(seed=1)).losses
    assert expected_losses(make_task(seed=1)).losses != expected_losses(make_task(seed=2)).losses


def test_tame_training_has_the_usual_tolerance(make_task):
    assert expected_losses(make_task()).tolerance == 1e-4


def test_training_without_a_finite_loss_has_the_usual_tolerance(make_task):
    found = expected_losses(make_task(l2=1e308))
    assert not any(map(math.isfinite, found.losses))
    assert found.tolerance == 1e-4


def test_chaotic_training_has_a_wider_tolerance(make_task):
    optimizer = Optimizer(kind="adam", learning_rate=1.0)
    tasks = [make_task(seed, optimizer=optimizer, batch_size=4) for seed in range(4)]
    assert max(expected_losses(task).tolerance for task in tasks) > 2e-4


def test_wider_tolerance_is_ten_times_what_rounding_does(make_task, monkeypatch):
    # Chaos magnifies even how NumPy aligns arrays: judge the very losses that were compared.
    seen = []

    def recording(*arguments):
        seen.append(train(*arguments))
        return seen[-1]

    monkeypatch.setattr("nnbench.testing.first_losses.reference.train", recording)
    task = make_task(optimizer=Optimizer(kind="adam", learning_rate=1.0), batch_size=4)
    found = expected_losses(task)
    (exact, _), (rounded, _) = seen
    strayed = deviation(rounded, exact)
    assert strayed is not None
    assert found.losses == exact
    assert found.tolerance == pytest.approx(max(1e-4, 10 * strayed))


def test_training_that_overflows_has_expected_losses(make_task):
    optimizer = Optimizer(kind="sgd", learning_rate=1e200)
    found = expected_losses(make_task(optimizer=optimizer, batch_size=4))
    assert math.isfinite(found.losses[0])
    assert found.tolerance >= 1e-4
