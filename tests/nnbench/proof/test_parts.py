"""A part is proved if the reference can follow it from the backend's own state."""

from __future__ import annotations

import numpy as np
import pytest

from nnbench import catalog
from nnbench.contract.spec import minibatches
from nnbench.data import datasets, seeding
from nnbench.proof.parts import Part, prove
from nnbench.proof.training import Training, fresh
from nnbench.records import Deviations, Limits

LIMITS = Limits(
    steps=100, tolerance=Deviations(loss=5e-6, displacement=1e-4, first=2e-5, second=2e-5)
)


@pytest.fixture(scope="module")
def mnist():
    examples = datasets.load_mnist().train.rows(slice(6400))
    return catalog.workloads()["mnist"].network(784, 10), examples


def train(task, steps, seed=1):
    """Train a part in float32."""
    spec, examples = task
    start = fresh(spec, seeding.initial_layers(spec, "uniform", seed))
    order = np.random.default_rng(seed).permutation(len(examples.inputs))[: steps * 64]
    training = Training(spec, examples, dtype=np.float32)
    training.load(start)
    losses = np.array(training.follow(minibatches(order, 64)), np.float32)
    return Part(order, 64, start, training.state(), losses)


@pytest.mark.parametrize("seed", range(3))
def test_a_right_part_is_proved(mnist, seed):
    part = train(mnist, 100, seed)
    verdict = prove(Training(*mnist), part, LIMITS)
    assert verdict.proved
    assert verdict.step is None


def test_a_loss_that_is_not_a_number_is_no_proof(mnist):
    part = train(mnist, 3)
    part.losses[1] = np.nan
    verdict = prove(Training(*mnist), part, LIMITS)
    assert not verdict.proved
    assert verdict.step == 1
    assert verdict.deviations.loss is None
