"""What a backend says of its own clock and its compilations."""

import numpy as np
import pytest

from nnbench import registry
from tests.problems import KINDS, OPTIMIZERS, make_examples, make_layers, make_spec

EXAMPLES, BATCH_SIZE = 20, 8  # the last batch is smaller


@pytest.fixture
def train(backend):
    """Return the backend's network, and a function that trains it for an epoch."""
    spec = make_spec((6, 5, 3), KINDS[0], OPTIMIZERS[1])
    network = backend.create(spec)
    network.load(make_layers(spec))
    data = network.place(make_examples(spec, EXAMPLES))

    def train_epoch():
        network.train_epoch(data, np.arange(EXAMPLES), BATCH_SIZE)
        network.synchronize()

    return network, train_epoch


def test_only_a_device_has_a_clock_of_its_own(backend, train):
    network, train_epoch = train
    train_epoch()
    seconds = network.device_seconds()
    assert seconds is None if backend.device == "cpu" else seconds > 0


def test_nothing_is_compiled_after_the_first_epoch(train):
    network, train_epoch = train
    train_epoch()
    before = network.compilations()
    train_epoch()
    assert network.compilations() == before


def test_torch_counts_compilations():
    torch = pytest.importorskip("torch")
    spec = make_spec((6, 5, 3), KINDS[0])
    network = registry.backends()["torch-cpu"].create(spec)
    double = torch.compile(lambda x: x * 2, backend="eager")
    before = network.compilations()
    double(torch.ones(3))
    assert network.compilations() == before + 1
    double(torch.ones(3))
    assert network.compilations() == before + 1
    double(torch.ones(3, 4))  # a new shape
    assert network.compilations() == before + 2
