"""What the contract gives to whoever writes a backend."""

from typing import get_args

import numpy as np
import pytest

from nnbench import Examples, Optimizer, flatten
from nnbench.contract import spec as contract
from tests.problems import KINDS, make_layers, make_spec

SPECS = [make_spec((6, 5, 3), kind) for kind in KINDS]
INPUTS = np.arange(8, dtype=np.float32).reshape(4, 2)
LABELS = np.array([2, 0, 1, 2])


@pytest.mark.parametrize("spec", SPECS)
def test_a_flat_array_is_viewed_as_the_layers_that_it_holds(spec):
    layers = make_layers(spec)
    flat = np.concatenate(flatten(layers), axis=None)
    views = spec.view(flat)
    for view, array in zip(flatten(views), flatten(layers), strict=True):
        assert np.array_equal(view, array)
        assert np.shares_memory(view, flat)
    assert [view.bias is None for view in views] == [not spec.bias] * 2
    assert len(flat) == spec.parameter_count


@pytest.mark.parametrize("spec", SPECS)
def test_a_copy_of_a_layer_shares_nothing(spec):
    layer = make_layers(spec)[0]
    pairs = list(zip(flatten([layer]), flatten([layer.copy()]), strict=True))
    assert all(np.array_equal(*pair) and not np.shares_memory(*pair) for pair in pairs)
    assert (layer.copy().bias is None) == (not spec.bias)


@pytest.mark.parametrize("index", [np.array([3, 0]), slice(1, 3)])
def test_rows_are_taken_of_all_that_is_there(index):
    inputs, labels, targets = Examples(INPUTS, LABELS, None).rows(index)
    assert np.array_equal(inputs, INPUTS[index])
    assert np.array_equal(labels, LABELS[index])
    assert targets is None
    assert np.array_equal(Examples(INPUTS, None, INPUTS).rows(index).targets, INPUTS[index])


def test_classes_become_rows_of_the_identity_and_targets_stay():
    made = Examples(INPUTS, LABELS, None).one_hot(3)
    assert made.dtype == np.float32
    assert made.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert Examples(INPUTS, None, INPUTS).one_hot(2) is INPUTS


@pytest.mark.parametrize(
    ("members", "choose"),
    [
        (
            contract.Activation,
            lambda kind, given: replace(activation=kind).choose_activation(**given),
        ),
        (contract.Loss, lambda kind, given: replace(loss=kind).choose_loss(**given)),
        (
            contract.OptimizerKind,
            lambda kind, given: Optimizer(kind=kind, learning_rate=1).choose(**given),
        ),
    ],
)
def test_of_what_is_given_for_each_kind_the_own_is_returned(members, choose):
    given = {kind.replace("-", "_"): kind for kind in get_args(members)}
    assert [choose(kind, given) for kind in get_args(members)] == list(get_args(members))
    with pytest.raises(AssertionError, match="new"):
        choose("new", given)


def replace(**changes):
    return contract.NetworkSpec(
        **{"sizes": (2, 3), "activation": "relu", "loss": "squared_error", "optimizer": OPTIMIZER}
        | changes
    )


OPTIMIZER = Optimizer(kind="sgd", learning_rate=1)
