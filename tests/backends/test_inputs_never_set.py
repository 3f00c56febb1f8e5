"""Inputs that are zero in a whole split, as many pixels are, may be skipped, but not forgotten."""

import numpy as np
import pytest

from nnbench import Examples, reference
from tests.problems import (
    KINDS,
    OPTIMIZERS,
    distance,
    kind_name,
    make_examples,
    make_layers,
    make_spec,
)

COUNT = 12
ORDER = np.arange(COUNT)


def make_splits(spec):
    """Return examples of which two inputs are never set, and examples of which all are."""
    every = make_examples(spec, COUNT)
    inputs = every.inputs.copy()
    inputs[:, [1, 4]] = 0
    return Examples(inputs, every.labels, every.targets), every


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.kind}-{o.epsilon}")
@pytest.mark.parametrize("kind", KINDS[:4], ids=kind_name)
@pytest.mark.parametrize("load_first", [True, False])
def test_splits_in_turn_match_the_reference(backend, kind, optimizer, load_first):
    """Once an input was set, its weights go on moving: Adam remembers."""
    spec = make_spec((6, 5, 3), kind, optimizer)
    some, every = make_splits(spec)
    network = backend.network(spec, 8)
    if load_first:
        network.load(make_layers(spec))
    splits = [network.place(some), network.place(every)]
    if not load_first:
        network.load(make_layers(spec))
    turns = [0, 0, 1, 0, 1]
    losses = [float(network.train_epoch(splits[turn], ORDER, COUNT)[0]) for turn in turns]
    network.synchronize()
    expected, layers = reference.train(
        spec, make_layers(spec), [(some, every)[turn] for turn in turns]
    )
    assert losses == pytest.approx(expected, rel=1e-4)
    assert distance(network.dump(), layers) < 1e-4


def test_what_was_never_set_in_training_counts_in_prediction(backend):
    spec = make_spec((6, 5, 3), KINDS[0], OPTIMIZERS[1])
    some, every = make_splits(spec)
    network = backend.network(spec, 8)
    data, test_data = network.place(some), network.place(every)
    network.load(make_layers(spec))
    network.train_epoch(data, ORDER, COUNT)
    layers = network.dump()
    assert np.array_equal(layers[0].weight[[1, 4]], make_layers(spec)[0].weight[[1, 4]])
    logits = network.predict(network.batch(test_data, ORDER))
    expected = reference.feedforward(spec, layers, every.inputs)[-1]
    assert logits == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("bias", [True, False])
def test_examples_without_any_input_train_the_rest(backend, bias):
    spec = make_spec((6, 5, 3), KINDS[-1] | {"bias": bias, "l2": 0.0})
    examples = make_examples(spec, COUNT)
    examples.inputs[:] = 0
    network = backend.network(spec, 8)
    network.load(make_layers(spec))
    losses = network.train_epoch(network.place(examples), ORDER, COUNT)
    expected, layers = reference.train(spec, make_layers(spec), [examples])
    assert losses == pytest.approx(expected, rel=1e-4)
    assert distance(network.dump(), layers) < 1e-4
