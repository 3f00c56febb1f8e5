"""The reference is right: finite differences, and Adam worked out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given

from nnbench import Examples, Layer, Optimizer, flatten, reference
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
    layers = [reference.cast(layer, np.float64) for layer in make_layers(spec, seed)]
    return layers, reference.cast(make_examples(spec, count, seed), np.float64)


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
        arrays = zip(flatten(layers), flatten(gradients), strict=True)
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


def test_softmax_takes_logits_of_any_size():
    spec = make_spec((1, 2), KINDS[0])
    logits = np.array([[1000.0, 0.0], [-1000.0, 0.0]])
    loss, gradient = reference.output_loss(spec, logits, Examples(logits, np.array([0, 0]), None))
    assert loss == 500  # 0 of the first row, 1000 of the second
    assert gradient.tolist() == [[0, 0], [-0.5, 0.5]]


def test_layer_without_a_bias_is_the_product_alone():
    spec = make_spec((2, 1), KINDS[0] | {"bias": False})
    layers = [Layer(np.array([[3.0], [5.0]]), None)]
    values = reference.feedforward(spec, layers, np.array([[0.0, 0.0], [1.0, 2.0]]))
    assert values[-1].tolist() == [[0], [13]]


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


def test_fresh_adam_forgets_the_steps_before():
    optimizer = Optimizer(kind="adam-fresh", learning_rate=0.1, epsilon=1.0)
    parameter = np.array([0.0, 0.0])
    update = reference.Update(optimizer, [parameter])
    for gradient in ([3.0, 1.0], [-1.0, 0.0]):
        update([np.array(gradient)])
    # m̂ = g, v̂ = g²: step 0.1 · g / (|g| + 1)
    assert parameter == pytest.approx([-0.1 * 3 / 4 + 0.1 * 1 / 2, -0.1 * 1 / 2])


def test_gradient_descent_steps_along_the_gradient():
    parameters = [np.array([1.0, 2.0]), np.array([5.0])]
    update = reference.Update(Optimizer(kind="sgd", learning_rate=0.5), parameters)
    for _ in range(2):
        update([np.array([3.0, -1.0]), np.array([0.0])])
    assert [p.tolist() for p in parameters] == [[-2, 3], [5]]


@pytest.mark.parametrize("kind", ["sgd", "adam", "adam-fresh"])
def test_every_parameter_needs_a_gradient(kind):
    update = reference.Update(Optimizer(kind=kind, learning_rate=0.5), [np.ones(1), np.ones(1)])
    with pytest.raises(ValueError, match="shorter"):
        update([np.ones(1)])


def test_train_leaves_the_given_parameters_alone():
    spec = make_spec((3, 4, 2), KINDS[0])
    layers = make_layers(spec)
    before = [layer.weight.copy() for layer in layers]
    losses, trained = reference.train(spec, layers, [make_examples(spec, 8)] * 3)
    assert losses[0] > losses[2]
    assert all(np.array_equal(a, b.weight) for a, b in zip(before, layers, strict=True))
    assert not np.array_equal(trained[0].weight, before[0])


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
def test_training_in_float32_rounds_every_value(kind):
    spec = make_spec((3, 4, 4, 2), kind)
    layers, examples = float64_problem(spec, 8, seed=1)
    examples = examples._replace(inputs=examples.inputs / 3)  # no float32 has these values
    if examples.targets is not None:
        examples = examples._replace(targets=examples.targets / 3)
    single = [reference.cast(layer, np.float32) for layer in layers]
    loss, gradients = reference.backprop(spec, single, reference.cast(examples, np.float32))
    losses, trained = reference.train(spec, layers, [examples], np.float32)
    assert losses == [loss]
    arrays = [flatten(made) for made in (single, gradients, trained)]
    assert {array.dtype for made in arrays for array in made} == {np.dtype(np.float32)}
    assert len(arrays[0]) == len(arrays[2]) == (6 if spec.bias else 3)
    exact = flatten(reference.train(spec, layers, [examples])[1])
    assert {array.dtype for array in exact} == {np.dtype(np.float64)}


def test_copy_of_a_layer_has_its_values():
    layer = Layer(np.array([[0.25, 2.0]]), np.array([0.5, -1.0]))
    weight, bias = reference.cast(layer, np.float32)
    assert (weight.tolist(), bias.tolist()) == ([[0.25, 2.0]], [0.5, -1.0])
    assert reference.cast(Layer(layer.weight, None), np.float32).bias is None


@pytest.mark.parametrize(
    ("bias", "same"), [([1.0, 2.0], True), ([1.0, 3.0], False), ([1.0, np.nan], False)]
)
def test_networks_are_equal_if_all_parameters_are(bias, same):
    layers = [Layer(np.ones((2, 2)), None), Layer(np.ones((2, 2)), np.array([1.0, 2.0]))]
    others = [layers[0], Layer(np.ones((2, 2)), np.array(bias))]
    assert reference.equal(layers, others) is same


def test_networks_of_other_depth_are_not_compared():
    layer = Layer(np.ones((2, 2)), np.ones(2))
    with pytest.raises(ValueError, match="shorter"):
        reference.equal([layer, layer], [layer])
