"""What a network costs, by its specification."""

import pytest

from nnbench import NetworkSpec, Optimizer


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
