"""Big integers multiply matrices within the bounds that their module states."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnbench import reference
from nnbench_python.bigint import BigintNetwork
from nnbench_python.fixed_point import Multipliers, decode, encode, matmul, outer, quantize
from nnbench_python.functions import SparseRow
from tests.problems import KINDS, OPTIMIZERS, distance, make_examples, make_layers, make_spec

WHOLE = st.integers(-1000, 1000).map(float)
ANY_SCALE = st.builds(math.ldexp, st.floats(0.5, 1) | st.floats(-1, -0.5), st.integers(-100, 100))
SIMILAR = st.floats(-1, 1, width=32)
ADAM = OPTIMIZERS[1]


@st.composite
def pairs(draw, values):
    """Draw matrices of shapes (N, D) and (D, K), many of whose values are zero."""
    n, d, k = draw(st.tuples(*[st.integers(1, 6)] * 3))
    sparse = st.just(0.0) | values
    return [
        draw(st.lists(st.lists(sparse, min_size=c, max_size=c), min_size=r, max_size=r))
        for r, c in [(n, d), (d, k)]
    ]


def transposed(matrix):
    return np.transpose(matrix).tolist()


@given(pairs(WHOLE))
def test_products_of_integers_are_exact(drawn):
    a, b = drawn
    assert np.array_equal(matmul(quantize(a), b), np.matmul(a, b))
    assert np.array_equal(outer(quantize(transposed(a)), b), np.matmul(a, b))


@given(pairs(SIMILAR) | pairs(ANY_SCALE))
def test_products_are_as_precise_as_stated(drawn):
    a, b = (np.array(matrix) for matrix in drawn)
    largest, norms = np.abs(a).max(axis=0), np.linalg.norm(b, axis=1)
    bound = 2.0**-24 * a.shape[1] * (largest * norms).max()
    assert np.abs(matmul(quantize(a.tolist()), b.tolist()) - a @ b).max() <= bound


@given(pairs(SIMILAR) | pairs(ANY_SCALE))
def test_outer_products_are_as_precise_as_stated(drawn):
    a, b = (np.array(matrix) for matrix in drawn)  # here a is transposed, so rows are features
    largest, norms = np.abs(a).max(axis=1, keepdims=True), np.linalg.norm(b, axis=1)
    bound = 2.0**-24 * a.shape[1] * largest * norms.max()
    assert (np.abs(outer(quantize(a.T.tolist()), b.tolist()) - a @ b) <= bound).all()


@pytest.mark.parametrize("count", [1, 64, 5000])
def test_fields_that_are_full_leave_their_neighbours_alone(count):
    """The largest sums there are, of alternating signs, beside zeros and the smallest weights."""
    largest = math.nextafter(2.0, 0)
    row = [largest, -largest, 0.0, -largest, largest, 2.0**-15, -largest]
    found = matmul(quantize([[largest] * count, [-largest] * count]), [row] * count)
    expected = np.outer([largest, -largest], row) * count
    assert found == pytest.approx(expected, rel=1e-6, abs=2.0**-30 * count)
    gradients = outer(quantize([[largest, -largest]] * count), [row] * count)
    assert gradients == pytest.approx(expected, rel=1e-6, abs=2.0**-30 * count)


def test_small_multipliers_do_not_need_more_bits_than_a_float_has():
    """As where a batch holds only small values of a split: the sum alone would allow 2⁵⁹."""
    multipliers = Multipliers([SparseRow([0], [3])], [1.0])
    assert matmul(multipliers, [[0.25, -1.0]]) == [[0.75, -3.0]]


@given(st.lists(st.integers(-(2**49), 2**49), min_size=1, max_size=9), st.integers(-200, 200))
def test_encode_and_decode_are_inverse(values, exponent):
    unit = 2.0**exponent
    packed = encode([value * unit for value in values], unit)
    assert packed == sum(value << 64 * j for j, value in enumerate(values))
    assert decode(packed << 12, unit / 2**12, len(values)) == [value * unit for value in values]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e100])
@pytest.mark.parametrize("which", [0, 1])
def test_what_is_not_finite_makes_the_whole_product_nan(bad, which):
    matrices = [[[1.0, 2.0], [0.0, 1.0]], [[1.0, -2.0], [3.0, 1.0]]]
    matrices[which][1][1] = bad
    a, b = matrices
    assert np.isnan(matmul(quantize(a), b)).all()
    assert np.isnan(outer(quantize(a), b))[1].all()


@pytest.mark.parametrize("scale", [1e-30, 1e-4, 1e4])
def test_features_of_another_scale_train_as_well(scale):
    """Adam hides the size of a gradient, so a small feature's must be as precise as others."""
    spec = make_spec((6, 5, 3), KINDS[0], ADAM)
    examples = make_examples(spec, 20)
    examples.inputs[:, 2:4] *= scale
    network = BigintNetwork(spec)
    network.load(make_layers(spec))
    network.train_epoch(network.place(examples), np.arange(20), 20)
    _, layers = reference.train(spec, make_layers(spec), [examples])
    assert distance(network.dump(), layers) < 1e-4


@pytest.mark.parametrize("kind", KINDS[::4], ids=str)
def test_a_diverging_network_gives_nan(kind):
    spec = make_spec((6, 5, 3), kind)
    examples = make_examples(spec, 20)
    layers = make_layers(spec)
    layers[0].weight[0, 0] = np.inf
    network = BigintNetwork(spec)
    network.load(layers)
    losses = network.train_epoch(network.place(examples), np.arange(20), 5)
    assert np.isnan(losses).all()
