"""A part is proved if the reference can follow it from the backend's own state."""

from __future__ import annotations

from dataclasses import replace
from statistics import median

import numpy as np
import pytest

from nnbench import catalog
from nnbench.contract.spec import minibatches
from nnbench.data import datasets, seeding
from nnbench.proof import parts
from nnbench.proof.calibration import FRESH
from nnbench.proof.parts import Part, prove
from nnbench.proof.training import Suspect, Training, Unit, flat, fresh
from nnbench.records.cells import Deviations, Limits

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


# Signs that float32 cannot tell, on their other side


@pytest.fixture(scope="module")
def deep():
    examples = datasets.load_mnist().train.rows(slice(6400))
    return replace(catalog.workloads()["mnist"], hidden=(64, 64)).network(784, 10), examples


def turned(task, seed, pick=None, most=3.0, contrary=0.0):
    """Train six steps with some undecided units on their other side; return the part, and how many there are.

    ``pick`` is asked about each step's undecided units: which is turned.
    """
    spec, examples = task
    start = fresh(spec, seeding.initial_layers(spec, "uniform", seed))
    order = np.random.default_rng(seed).permutation(len(examples.inputs))[: 6 * 128]
    training, losses, count = Training(spec, examples), [], 0
    training.load(start)
    training.most, training.contrary = most, contrary
    for step, index in enumerate(minibatches(order, 128)):
        suspects: list[Suspect] = []
        before = training.snapshot()
        loss = training.step(index, suspects=suspects)
        count += sum(one.active != one.natural for one in suspects)
        if pick and (one := pick(step, suspects)):
            training.restore(before)
            training.step(index, {one.unit: not one.active})
            count += 1
        losses.append(loss)
    return Part(order, 128, start, training.state(), np.array(losses, np.float32)), count


def fail(*_):
    pytest.fail("it is searched for longer than is needed")


@pytest.mark.parametrize("seed", [122, 100877])
def test_a_backend_that_takes_the_other_side_of_all_signs_needs_no_search(deep, monkeypatch, seed):
    monkeypatch.setattr(parts._Search, "search", fail)
    part, count = turned(deep, seed, contrary=1.5)
    assert count > 1
    verdict = prove(Training(*deep), part, LIMITS)
    assert (verdict.proved, verdict.flips) == (True, count)


@pytest.mark.parametrize("seed", [2, 15])
def test_a_sign_that_is_less_undecided_is_found(deep, seed):
    def pick(_step, suspects):
        return next((one for one in suspects if one.margin > 7 and one.weight > 1e-3), None)

    part, count = turned(deep, seed, pick, most=20.0)
    assert count == 1
    assert prove(Training(*deep), part, LIMITS).proved


@pytest.mark.parametrize(
    ("seed", "units"),
    [
        (3806, {1: Unit(0, 44, 18), 3: Unit(0, 70, 25)}),
        (9079, {2: Unit(0, 62, 4), 4: Unit(1, 109, 42)}),
    ],
)
def test_a_sign_that_comes_to_be_undecided_by_another_one_is_found(deep, monkeypatch, seed, units):
    """No change alone brings the end nearer, and here nothing else is tried."""
    monkeypatch.setattr(parts, "WIDER", (1,))
    monkeypatch.setattr(parts, "CONTRARY", ())

    def pick(step, suspects):
        return next((one for one in suspects if one.unit == units.get(step)), None)

    part, count = turned(deep, seed, pick)
    assert count == 2
    assert prove(Training(*deep), part, LIMITS).proved
    monkeypatch.setattr(parts._Search, "pairs", lambda _: [])
    assert not prove(Training(*deep), part, LIMITS).proved


# Adam anew in every step: its parameters move by the signs of gradients, some of which are tiny.


STEPS = 10  # of a part


@pytest.fixture(scope="module")
def late():
    """Return a network, its examples, a state late in training, and an order of what comes next."""
    spec = catalog.workloads()["mnist-lesson5"].network(784, 10)
    examples = datasets.load_mnist().train.rows(slice(30_000))
    training = Training(spec, examples, dtype=np.float32)
    training.load(fresh(spec, seeding.initial_layers(spec, "uniform", 1)))
    order = np.random.default_rng(1).permutation(len(examples.inputs))
    training.follow(minibatches(order[: 400 * 64], 64))
    return spec, examples, training.state(), order[400 * 64 :]


def late_parts(late, rate=1e-3):
    """Train some parts in float32."""
    spec, examples, state, order = late
    training = Training(
        replace(spec, optimizer=replace(spec.optimizer, learning_rate=rate)),
        examples,
        dtype=np.float32,
    )
    training.load(state)
    for rows in order[: 6 * STEPS * 64].reshape(-1, STEPS * 64):
        start = training.state()
        losses = np.array(training.follow(minibatches(rows, 64)), np.float32)
        yield Part(rows, 64, start, training.state(), losses)


def test_signs_of_gradients_that_float32_cannot_decide_are_no_error(late):
    exact = Training(*late[:2])
    beyond = 0
    for part in late_parts(late):
        assert prove(exact, part, FRESH).proved
        exact.load(part.start)
        exact.follow(minibatches(part.order, 64))
        apart, moved = (
            np.linalg.norm(flat(part.end.layers) - flat(other.layers))
            for other in (exact.state(), part.start)
        )
        beyond += apart > LIMITS.tolerance.displacement * moved
        assert np.mean(flat(exact.state().leeway) > 0) < 0.25
    assert beyond > 0  # if each sign had to be the same


def displacements(late, rate):
    """Prove some parts, and return how far each is off."""
    exact = Training(*late[:2])
    verdicts = [prove(exact, part, FRESH) for part in late_parts(late, rate)]
    assert all(verdict.proved for verdict in verdicts)
    return [verdict.deviations.displacement for verdict in verdicts]


def test_a_rate_that_is_one_percent_too_large_moves_each_part_further_than_is_typical(late):
    assert median(displacements(late, 1e-3)) == 0
    assert min(displacements(late, 1.01e-3)) > FRESH.typical
