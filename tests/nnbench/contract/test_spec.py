"""What a network costs, by its specification."""

import numpy as np
import pytest

from nnbench import Layer, NetworkSpec, Optimizer, OptimizerState
from nnbench.contract.spec import RULES


def make_spec(sizes, kind="sgd", bias=True):
    optimizer = Optimizer(kind=kind, learning_rate=0.1)
    return NetworkSpec(
        sizes=sizes, activation="relu", loss="cross_entropy", optimizer=optimizer, bias=bias
    )


@pytest.mark.parametrize(
    ("spec", "batch_size", "floats"),
    [
        # inputs twice; outputs 2 and deltas 2; the parameters 2 + 3 and, but for biases, no 3rd
        (make_spec((5, 3), bias=False), 1, 2 * 5 + 4 * 3 + 15 * (2 + 3)),
        (make_spec((5, 3), bias=False), 10, 10 * (2 * 5 + 4 * 3) + 15 * (2 + 3)),
        (make_spec((5, 3), "adam", bias=False), 1, 2 * 5 + 4 * 3 + 15 * (2 + 7)),
        (make_spec((5, 3), "adam-fresh", bias=False), 1, 2 * 5 + 4 * 3 + 15 * (2 + 3)),
        (make_spec((5, 4, 3), bias=False), 1, 2 * 5 + 4 * 7 + 20 * (2 + 3) + 12 * (3 + 3)),
        (make_spec((5, 3)), 1, 2 * 5 + 4 * 3 + 15 * (2 + 3) + 3 * (3 + 3)),
    ],
)
def test_bytes_of_a_step_are_counted(spec, batch_size, floats):
    assert spec.traffic(batch_size) == 4 * floats


def test_scaled_moments_are_those_of_the_definition_times_what_is_left_out():
    optimizer = Optimizer(kind="adam", learning_rate=0.1, beta1=0.75, beta2=0.875)
    ones = Layer(np.ones((2, 3), np.float32), None)
    steps, (first,), (second,) = OptimizerState(5, [ones], [ones]).unscaled(optimizer)
    assert steps == 5
    assert first.bias is second.bias is None
    assert first.weight.dtype == second.weight.dtype == np.float32
    assert np.array_equal(first.weight, np.full((2, 3), 0.25))
    assert np.array_equal(second.weight, np.full((2, 3), 0.125))


def test_only_adam_keeps_moments():
    kept = {kind: Optimizer(kind=kind, learning_rate=1).keeps_moments for kind in RULES}
    assert kept == {"sgd": False, "adam": True, "adam-fresh": False}
