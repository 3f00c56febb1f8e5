"""Where errors nearly cancel out little is left but rounding, and nobody is accused of that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nnbench import catalog
from nnbench.contract.spec import Optimizer
from nnbench.proof import deviations, parts
from nnbench.proof.training import EPSILON, Training, fresh
from nnbench.records.cells import Deviations, Status
from tests.trained import judged, spooled, train

TOY = replace(
    catalog.workloads()["toy-sigmoid"],
    batch_size=2,
    epochs=40,
    optimizer=Optimizer(kind="adam", learning_rate=0.01, epsilon=0.01),
)
SGD = Optimizer(kind="sgd", learning_rate=1.0)
#: Trainings that come to fit an example, or all of them: little is left of losses, of what moves, or of moments.
FITTED = {
    "batches": TOY,
    "single examples": replace(TOY, batch_size=1, optimizer=SGD),
    "single examples, Adam": replace(TOY, batch_size=1),
    "single examples, ReLU": replace(TOY, batch_size=1, activation="relu", optimizer=SGD),
    "all examples, Adam": replace(
        TOY, batch_size=None, epochs=600, optimizer=Optimizer(kind="adam", learning_rate=0.05)
    ),
}


@pytest.fixture(params=FITTED)
def fitted(request):
    """A judge of such a training, and one cell, in parts of a step or of a hundred."""
    workload = FITTED[request.param]
    with spooled(workload) as spool:
        yield spool, train(spool, steps=1, spans=1 if workload.batch_size else 100)


def test_a_network_that_fits_its_examples_is_right(monkeypatch, fitted):
    """And it would be accused if its losses and its moments were by their own size."""
    spool, cell = fitted
    assert judged(spool, cell).message == ""
    monkeypatch.setattr(parts, "losses_leeway", lambda losses, *_: np.zeros_like(losses))
    monkeypatch.setattr(deviations, "NOISE", 0)
    assert judged(spool, cell).status is Status.INVALID


@pytest.mark.parametrize("name", FITTED)
def test_a_network_that_fits_its_examples_by_another_rate_is_wrong(name):
    workload = FITTED[name]
    with spooled(workload) as spool:
        spec = spool.judge.network
        other = replace(spec.optimizer, learning_rate=1.01 * spec.optimizer.learning_rate)

        def mistake(training, step):
            training.spec = replace(spec, optimizer=other) if step > 50 else spec

        cell = train(spool, steps=1, mistake=mistake, spans=1 if workload.batch_size else 20)
        assert judged(spool, cell).status is Status.INVALID


def test_what_rounding_may_do_to_a_loss_is_a_few_times_what_it_does():
    with spooled(FITTED["single examples"]) as spool:
        task = spool.judge.task(1)
    exact, rounded = (
        Training(task.network, task.train, dtype=dtype) for dtype in (np.float64, np.float32)
    )
    rounded.load(fresh(task.network, task.layers))
    shares = []
    for index in np.concatenate([*task.orders()])[:, None]:
        state = rounded.state()
        exact.load(state)
        [may] = exact.roundings([index])
        exact.load(state)
        shares.append(abs(rounded.step(index) - exact.step(index)) / may)
    assert 0.05 < max(shares) < 0.5


def test_what_rounding_does_is_measured_once_it_is_beyond_the_tolerance():
    tolerance = Deviations(loss=1e-5, displacement=1e-4, first=2e-5, second=2e-5)
    measured = Deviations(loss=None, displacement=1e-6, first=1e-5, second=0.0)
    found = deviations.leeway(measured, tolerance)
    assert found == Deviations(loss=0.0, displacement=0.0, first=pytest.approx(8e-5), second=0.0)
    left = deviations.less(Deviations(loss=None, displacement=1.0, first=9e-5, second=1.0), found)
    assert left.first == pytest.approx(1e-5)
    assert (left.loss, left.displacement, left.second) == (None, 1.0, 1.0)


def test_a_loss_of_which_less_is_left_than_is_tolerated_has_no_leeway():
    expected, roundings = np.array([1.0, 1e-6]), np.array([EPSILON, 1e-4])
    found = deviations.losses_leeway(expected, roundings, 2e-5)
    assert found == pytest.approx([0, 1e-4 - 1e-5])
