"""Random draws: reproducible, independent of each other, and of the right kind."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from nnbench import NetworkSpec, Optimizer, flatten
from nnbench.data import seeding

SPEC = NetworkSpec(
    sizes=(100, 30, 4),
    activation="relu",
    loss="cross_entropy",
    optimizer=Optimizer(kind="sgd", learning_rate=0.1),
)
NAMES = ["a", "b", "c", "d", "e"]


def orders(workload, examples=50, seed=0):
    return [order.tolist() for order in seeding.epoch_orders(workload, examples, seed)]


@pytest.mark.parametrize("initial", ["uniform", "normal"])
def test_parameters_have_the_networks_shapes(initial):
    layers = seeding.initial_layers(SPEC, initial, 0)
    assert [layer.weight.shape for layer in layers] == [(100, 30), (30, 4)]
    assert [layer.bias.shape for layer in layers if layer.bias is not None] == [(30,), (4,)]
    assert {array.dtype for array in flatten(layers)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("initial", ["uniform", "normal"])
def test_network_without_biases_gets_none(initial):
    layers = seeding.initial_layers(replace(SPEC, bias=False), initial, 0)
    assert [layer.bias for layer in layers] == [None, None]


@pytest.mark.parametrize(("layer", "fan_in"), [(0, 100), (1, 30)])
def test_uniform_parameters_stay_within_their_bound(layer, fan_in):
    bound = 1 / np.sqrt(fan_in)
    for array in flatten(seeding.initial_layers(SPEC, "uniform", 0)[layer : layer + 1]):
        assert np.abs(array).max() <= bound
        assert array.min() < 0 < array.max()
    weight = seeding.initial_layers(SPEC, "uniform", 0)[layer].weight
    assert np.abs(weight).max() > 0.9 * bound
    assert weight.std() == pytest.approx(bound / np.sqrt(3), rel=0.1)


def test_normal_parameters_have_unit_variance():
    weight = seeding.initial_layers(SPEC, "normal", 0)[0].weight
    assert weight.mean() == pytest.approx(0, abs=0.1)
    assert weight.std() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("seed", [0, 1, 2**32, 10**30])
def test_same_seed_draws_the_same(mnist, seed):
    for first, second in zip(
        seeding.initial_layers(SPEC, "uniform", seed),
        seeding.initial_layers(SPEC, "uniform", seed),
        strict=True,
    ):
        np.testing.assert_array_equal(first.weight, second.weight)
    assert orders(mnist, seed=seed) == orders(mnist, seed=seed)
    assert seeding.block_order(NAMES, seed) == seeding.block_order(NAMES, seed)


def test_other_seed_draws_something_else(mnist):
    zero, one = (seeding.initial_layers(SPEC, "uniform", seed)[0].weight for seed in range(2))
    assert not np.array_equal(zero, one)
    assert orders(mnist, seed=0) != orders(mnist, seed=1)


def test_streams_of_a_seed_are_independent():
    streams = [seeding.PARAMETERS, seeding.ORDER, seeding.BLOCK, seeding.WARM_UP]
    assert len({seeding.generator(0, stream).random() for stream in streams}) == 4


def test_each_epoch_sees_every_example_once(mnist):
    drawn = orders(mnist)
    assert len(drawn) == mnist.epochs
    assert all(sorted(order) == list(range(50)) for order in drawn)


def test_epochs_differ_in_their_order(mnist):
    drawn = orders(mnist)
    assert all(first != second for first, second in pairwise(drawn))


def test_fewer_epochs_are_the_first_ones(mnist):
    assert orders(replace(mnist, epochs=2)) == orders(mnist)[:2]


def test_workload_without_shuffling_keeps_the_order(mnist):
    workload = replace(mnist, shuffle=False, epochs=2)
    assert orders(workload, 4) == [[0, 1, 2, 3]] * 2


def test_warm_up_sees_another_order_than_training(mnist):
    order = seeding.warm_up_order(50, 0).tolist()
    assert sorted(order) == list(range(50))
    assert order not in orders(mnist)


@pytest.mark.parametrize("names", [[], ["a"], NAMES])
def test_block_holds_every_backend_once(names):
    for seed in range(5):
        assert sorted(seeding.block_order(names, seed)) == names
