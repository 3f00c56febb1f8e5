"""The reference is right: finite differences, and Adam worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given

from nnbench import Examples, Layer, Optimizer, reference
from tests.problems import (
    COUNTS,
    KINDS,
    SEEDS,
    SIZES,
    TWO_HIDDEN,
    kind_name,
    make_examples,
    make_layers,
    make_spec,
)

STEP = 1e-5


def float64_problem(spec, count, seed):
    layers = [reference.cast_layer(layer, np.float64) for layer in make_layers(spec, seed)]
    return layers, reference.cast_examples(make_examples(spec, count, seed), np.float64)


def finite_differences(spec, layers, examples, array):
    slopes = np.empty_like(array)
    for index in np.ndindex(array.shape):
        middle = array[index]
        losses = []
        for sign in (+1, -1):
            array[index] = middle + sign * STEP
            losses.append(reference.backprop(spec, layers, examples)[0])
        array[index] = middle
        slopes[index] = (losses[0] - losses[1]) / (2 * STEP)
    return slopes


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
@pytest.mark.parametrize("sizes", [SIZES, TWO_HIDDEN], ids=["any depth", "two hidden layers"])
def test_gradients_match_finite_differences(kind, sizes):
    @given(sizes, COUNTS, SEEDS)
    def check(sizes, count, seed):
        spec = make_spec(sizes, kind)
        layers, examples = float64_problem(spec, count, seed)
        _, gradients = reference.backprop(spec, layers, examples)
        arrays = zip(reference.flatten(layers), reference.flatten(gradients), strict=True)
        for parameter, gradient in arrays:
            slopes = finite_differences(spec, layers, examples, parameter)
            scale = max(np.linalg.norm(gradient), 1e-3)
            assert np.linalg.norm(slopes - gradient) / scale < 1e-6

    check()


def test_cross_entropy_is_the_mean_in_nats():
    spec = make_spec((1, 4), KINDS[0])
    layers = [Layer(np.zeros((1, 4)), np.zeros(4))]
    examples = make_examples(spec, 7)
    loss, _ = reference.backprop(spec, layers, examples)
    assert loss == pytest.approx(math.log(4))


def test_squared_error_is_the_mean_over_batch_and_outputs():
    kind = {"activation": "relu", "loss": "squared_error", "bias": True, "l2": 0.0}
    spec = make_spec((1, 2), kind)
    layers = [Layer(np.zeros((1, 2)), np.zeros(2))]  # each output is 1/2
    examples = Examples(np.zeros((2, 1)), None, np.array([[0.5, 0.5], [0.5, 0.0]]))
    loss, _ = reference.backprop(spec, layers, examples)
    assert loss == pytest.approx(0.25 / 4)


def test_l2_leaves_biases_alone():
    kind = {"activation": "relu", "loss": "cross_entropy", "bias": True, "l2": 10.0}
    spec, plain = make_spec((3, 2), kind), make_spec((3, 2), kind | {"l2": 0.0})
    layers, examples = float64_problem(spec, 5, seed=1)
    loss, [gradient] = reference.backprop(spec, layers, examples)
    plain_loss, [plain_gradient] = reference.backprop(plain, layers, examples)
    weight = layers[0].weight
    assert loss - plain_loss == pytest.approx(5 * (weight**2).sum())
    assert gradient.weight - plain_gradient.weight == pytest.approx(10 * weight)
    assert gradient.bias == pytest.approx(plain_gradient.bias)


def test_adam_follows_the_paper():
    optimizer = Optimizer(kind="adam", learning_rate=0.1, beta1=0.5, beta2=0.75, epsilon=1.0)
    parameter = np.array([2.0])
    update = reference.Update(optimizer, [parameter])
    update([np.array([3.0])])
    # m̂ = 3, v̂ = 9: step 0.1 · 3 / (3 + 1)
    assert parameter[0] == pytest.approx(2 - 0.075)
    update([np.array([-1.0])])
    m_hat = (0.5 * 1.5 + 0.5 * -1) / (1 - 0.25)
    v_hat = (0.75 * 2.25 + 0.25 * 1) / (1 - 0.5625)
    assert parameter[0] == pytest.approx(2 - 0.075 - 0.1 * m_hat / (math.sqrt(v_hat) + 1))


def test_fresh_adam_repeats_the_first_step():
    optimizer = Optimizer(kind="adam-fresh", learning_rate=0.1, epsilon=1.0)
    parameter = np.array([0.0])
    update = reference.Update(optimizer, [parameter])
    for _ in range(3):
        update([np.array([3.0])])
    assert parameter[0] == pytest.approx(-3 * 0.1 * 3 / 4)


def test_train_leaves_the_given_parameters_alone():
    spec = make_spec((3, 4, 2), KINDS[0])
    layers = make_layers(spec)
    before = [layer.weight.copy() for layer in layers]
    losses, trained = reference.train(spec, layers, [make_examples(spec, 8)] * 3)
    assert losses[0] > losses[2]
    assert all(np.array_equal(a, b.weight) for a, b in zip(before, layers, strict=True))
    assert not np.array_equal(trained[0].weight, before[0])
