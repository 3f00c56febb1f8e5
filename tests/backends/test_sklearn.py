"""What MLPClassifier cannot be, and how it ends where others go on."""

from dataclasses import replace

import numpy as np
import pytest

from nnbench import BackendUnavailableError, Layer, Optimizer, catalog, minibatches, reference
from tests.problems import KINDS, make_examples, make_layers, make_spec

pytest.importorskip("sklearn")

SPEC = make_spec((6, 5, 3), KINDS[0])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"loss": "squared_error"}, "no squared error"),
        ({"bias": False}, "always has biases"),
        ({"sizes": (6, 5, 2)}, "one logistic output for two classes"),
    ],
)
def test_it_says_what_it_cannot_be(changes, reason):
    with pytest.raises(BackendUnavailableError, match=reason):
        catalog.backends()["sklearn"].network(replace(SPEC, **changes), 8)


def test_parameters_stay_float32():
    network = catalog.backends()["sklearn"].network(SPEC, 8)
    network.load(make_layers(SPEC))
    network.train_epoch(network.place(make_examples(SPEC, 20)), np.arange(20), 8)
    assert {array.dtype for layer in network.dump() for array in layer} == {np.dtype(np.float32)}


@pytest.mark.filterwarnings("ignore:.*(overflow|invalid value):RuntimeWarning")
def test_a_network_that_diverges_gives_losses_and_no_error():
    spec = replace(SPEC, optimizer=Optimizer(kind="sgd", learning_rate=1e38))
    network = catalog.backends()["sklearn"].network(spec, 8)
    network.load(make_layers(spec))
    losses = network.train_epoch(network.place(make_examples(spec, 40)), np.arange(40), 8)
    assert len(losses) == 5
    assert not np.isfinite(losses).all()


def test_losses_are_right_where_the_network_is_sure_and_wrong():
    """The library counts no probability as less than 1.2e-7, whose loss is 15.9."""
    layers = [Layer(layer.weight * 100, np.zeros_like(layer.bias)) for layer in make_layers(SPEC)]
    examples = make_examples(SPEC, 20)
    network = catalog.backends()["sklearn"].network(SPEC, 8)
    network.load(layers)
    losses = network.train_epoch(network.place(examples), np.arange(16), 8)
    batches = [examples.rows(index) for index in minibatches(np.arange(16), 8)]
    expected, _ = reference.train(SPEC, layers, batches)
    assert max(expected) > 100
    assert losses == pytest.approx(expected, rel=1e-5)
