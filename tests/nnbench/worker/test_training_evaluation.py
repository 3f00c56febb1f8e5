"""Evaluation of a network: the harness computes loss and accuracy from its logits."""

import math
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import pytest

from nnbench import Examples, Network
from nnbench.data.task import load_task
from nnbench.worker.training import BATCH_SIZE, evaluate, finite_or_none


class Fixed(Network[Examples, np.ndarray]):
    """A network whose logits are its inputs."""

    def place(self, examples):
        return examples

    def batch(self, data, index):
        return data.inputs[index]

    def feedforward(self, batch):
        return batch

    load: Any = pytest.fail
    dump: Any = pytest.fail
    backprop: Any = pytest.fail
    update: Any = pytest.fail
    gradients: Any = pytest.fail


@pytest.fixture
def make_task(mnist, folder):
    """Give a function that makes the task of a small dataset, with changes to its workload."""

    def make(seed=0, **changes):
        return load_task(replace(mnist, dataset=str(folder), **changes), seed)

    return make


def evaluate_logits(task, logits, labels):
    """Evaluate a network that returns these logits on a test split with these labels."""
    inputs, labels = np.array(logits, np.float32), np.array(labels)
    one_hot = task.network.loss == "squared_error"
    targets = np.eye(inputs.shape[1], dtype=np.float32)[labels] if one_hot else None
    test = Examples(inputs, None if one_hot else labels, targets)
    return evaluate(Fixed(), test, replace(task, test=test, labels=labels))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1.0, 1.0),
        (0, 0.0),
        (np.float32(0.1), 0.1),
        (1 / 3, 0.3333333),
        (1e-30, 1e-30),
        (math.nan, None),
        (math.inf, None),
        (-math.inf, None),
        (np.float32("nan"), None),
    ],
)
def test_finite_or_none(value, expected):
    found = finite_or_none(value)
    assert found == expected
    assert found is None or type(found) is float


@pytest.mark.parametrize(
    ("labels", "accuracy"),
    [([0, 1, 2, 0], 1.0), ([0, 1, 2, 1], 0.75), ([1, 2, 0, 1], 0.0)],
)
def test_accuracy_is_the_share_of_largest_logits(make_task, labels, accuracy):
    logits = [[9, 0, 0], [-2, -1, -3], [0, 0, 0.1], [1e30, 0, 0]]
    assert evaluate_logits(make_task(), logits, labels).accuracy == accuracy


def test_loss_is_the_mean_cross_entropy(make_task):
    found = evaluate_logits(make_task(), [[0, 0, 0], [math.log(2), 0, 0]], [0, 0])
    assert found.test_loss == pytest.approx((math.log(3) + math.log(2)) / 2)


def test_loss_is_the_mean_squared_error_of_a_sigmoid(make_task):
    task = make_task(loss="squared_error")
    found = evaluate_logits(task, [[0, 0, 0], [100, -100, -100]], [0, 0])
    assert found.test_loss == pytest.approx(3 * 0.25 / 6)
    assert found.accuracy == 1.0


def test_huge_logits_have_a_finite_loss(make_task):
    assert evaluate_logits(make_task(), [[1e30, 0, 0]], [0]).test_loss == 0.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_that_are_not_finite_have_no_loss(make_task, bad):
    assert evaluate_logits(make_task(), [[bad, bad, 0], [1, 0, 0]], [0, 0]).test_loss is None


def test_targets_that_are_no_classes_have_no_accuracy(mnist):
    workload = replace(mnist, dataset="toy", loss="squared_error", target_accuracy=None)
    task = load_task(workload, 0)
    targets = np.array([[0.5], [0.75]], np.float32)
    test = Examples(np.zeros((2, 1), np.float32), None, targets)
    found = evaluate(Fixed(), test, replace(task, test=test))
    assert found.accuracy is None
    assert found.test_loss == pytest.approx(0.25**2 / 2)


def test_seconds_of_an_evaluation_lie_within_it(make_task):
    task, start = make_task(), perf_counter()
    found = evaluate_logits(task, [[0, 0, 0]], [0])
    assert 0 < found.evaluate_s <= perf_counter() - start


@pytest.mark.parametrize("count", [1, BATCH_SIZE, BATCH_SIZE + 1])
def test_every_example_is_evaluated_once(make_task, count):
    labels = np.arange(count) % 3
    logits = np.eye(3)[labels]
    logits[-1] *= -1  # only the last one is wrong
    assert evaluate_logits(make_task(), logits, labels).accuracy == 1 - 1 / count
