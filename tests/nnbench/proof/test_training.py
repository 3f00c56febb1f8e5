"""The fast reference gives the numbers of the readable one, and takes the other side where asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from nnbench import catalog, reference
from nnbench.contract.spec import flatten, minibatches
from nnbench.data import datasets, seeding
from nnbench.proof.calibration import BASES
from nnbench.proof.deviations import gradient_deviation
from nnbench.proof.parts import Part, prove
from nnbench.proof.training import EPSILON, Suspect, Training, Unit, fresh, rounded
from nnbench.testing.networks import NETWORKS, SPECS
from nnbench.testing.problems import make_problem
from tests.problems import KINDS, make_examples, make_layers, make_spec

LIMITS = replace(BASES[0], steps=20)


class OtherSides(Mapping[Unit, bool]):
    """Every undecided unit on its other side."""

    def __init__(self):
        self.asked = 0

    def get(self, _unit, natural=None):
        self.asked += 1
        return not natural

    def __getitem__(self, unit):
        raise KeyError(unit)

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 1


@pytest.mark.parametrize("spec", SPECS, ids=list(NETWORKS))
def test_it_trains_as_the_readable_reference(spec):
    problem = make_problem(spec, epochs=3)
    losses, layers = reference.train(spec, problem.layers, problem.batches())
    training = Training(spec, problem.examples)
    training.load(fresh(spec, problem.layers))
    found = [loss for o in problem.orders for loss in training.follow(minibatches(o, 8))]
    assert found == pytest.approx(losses, rel=1e-12, abs=1e-14)
    for one, other in zip(flatten(training.state().layers), flatten(layers), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("spec", SPECS, ids=list(NETWORKS))
def test_it_goes_on_from_a_state_in_any_memory_order(spec):
    problem = make_problem(spec, epochs=2)
    whole, halves = Training(spec, problem.examples), Training(spec, problem.examples)
    first, second = problem.orders
    whole.load(fresh(spec, problem.layers))
    whole.follow(minibatches(first, 8))
    state = whole.state()
    turned = [layer._replace(weight=np.asfortranarray(layer.weight)) for layer in state.layers]
    halves.load(state._replace(layers=turned))
    whole.follow(minibatches(second, 8))
    halves.follow(minibatches(second, 8))
    for one, other in zip(
        flatten(whole.state().layers), flatten(halves.state().layers), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-15)


def test_it_comes_back_to_a_snapshot():
    problem = make_problem(SPECS[0])
    training = Training(SPECS[0], problem.examples)
    training.load(fresh(SPECS[0], problem.layers))
    training.step(problem.index)
    kept = training.snapshot()
    loss = training.step(problem.index)
    training.restore(kept)
    assert training.step(problem.index) == loss


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_to_nearest_even(dtype):
    values = np.array([1, 1 + 2**-11, 1 + 3 * 2**-11, -1 - 2**-10, 0, 3e-30], dtype)
    expected = [1, 1, 1 + 2 * 2**-10, -1 - 2**-10, 0]
    assert rounded(values, 10)[:5].tolist() == expected
    assert rounded(values, 10)[5] == pytest.approx(3e-30, rel=2**-11)


@pytest.fixture(scope="module")
def mnist():
    return datasets.load_mnist().train


def other_sides(workload, examples, batch_size, seed, steps):
    """Train a part in float32 that takes the other side wherever float32 cannot tell."""
    spec = catalog.workloads()[workload].network(784, 10)
    order = np.random.default_rng(seed).permutation(len(examples.inputs))[: steps * batch_size]
    training, sides = Training(spec, examples, dtype=np.float32), OtherSides()
    training.most = 2.0
    start = fresh(spec, seeding.initial_layers(spec, "uniform", seed))
    training.load(start)
    losses = [training.step(index, sides) for index in minibatches(order, batch_size)]
    part = Part(order, batch_size, start, training.state(), np.array(losses, np.float32))
    return spec, part, sides.asked


def test_the_other_side_of_undecided_signs_is_followed_on_mnist(mnist):
    flips = 0
    for seed in range(100):
        spec, part, asked = other_sides("mnist", mnist, 64, seed, 60)
        verdict = prove(Training(spec, mnist), part, LIMITS)
        assert verdict.proved
        flips += bool(asked) and verdict.flips
        if seed >= 11 and flips:  # a few have one; which, depends on how BLAS adds up
            break
    assert flips


def test_the_other_side_of_undecided_signs_is_followed_on_a_wide_network(mnist):
    spec, part, asked = other_sides("mnist-wide", mnist, 512, 4, 3)
    assert asked
    verdict = prove(Training(spec, mnist), part, LIMITS)
    assert verdict.proved
    assert verdict.flips


def test_an_undecided_sign_is_no_deviation_of_a_gradient(mnist):
    spec, part, asked = other_sides("mnist-wide", mnist, 512, 4, 1)
    assert asked
    training = Training(spec, mnist)
    training.load(part.start)
    found = training.gradients(part.order, OtherSides())
    rounded = Training(spec, mnist, dtype=np.float32)
    given = training, rounded, part.start.layers, part.order, found
    assert gradient_deviation(*given, noise=1e4) < 1e-6
    found[0].weight[:, 0] *= 1.5
    assert gradient_deviation(*given, noise=1e4) > 1e-3


def test_what_is_left_of_gradients_that_cancel_out_is_rounding():
    """Targets that are what the network says leave nothing to learn: float32 finds anything but zero there."""
    spec = make_spec((6, 5, 3), KINDS[-1] | {"l2": 0.0})
    layers, examples = make_layers(spec), make_examples(spec, 8)
    exact = [reference.cast(layer, np.float64) for layer in layers]
    outputs = reference.feedforward(spec, exact, examples.inputs.astype(np.float64))[-1]
    outputs = 1 / (1 + np.exp(-outputs))
    examples = examples._replace(targets=outputs.astype(np.float32))
    index = np.arange(8)
    right, rounded = (Training(spec, examples, dtype=each) for each in (np.float64, np.float32))
    _, found = reference.backprop(spec, layers, examples.rows(index[::-1]))
    assert gradient_deviation(right, rounded, layers, index, found, noise=0.0) > 1e-3
    assert gradient_deviation(right, rounded, layers, index, found, noise=1e4) < 1e-3
    found[0].weight[0, 0] += 1e-5
    assert gradient_deviation(right, rounded, layers, index, found, noise=1e4) > 1e-3


def test_a_unit_that_is_decided_keeps_its_side(mnist):
    spec, part, _ = other_sides("mnist", mnist, 64, 1, 1)
    training = Training(spec, mnist)
    training.load(part.start)
    suspects: list[Suspect] = []
    training.gradients(part.order, {}, suspects)
    assert all(0 <= one.margin < 3 and one.natural == one.active for one in suspects)
    assert pytest.approx(1.19e-7, rel=1e-2) == EPSILON
