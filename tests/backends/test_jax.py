"""What the jax backend promises beyond the contract."""

import numpy as np
import pytest

from nnbench import BackendUnavailableError
from tests.problems import KINDS, OPTIMIZERS, distance, make_examples, make_layers, make_spec

jax = pytest.importorskip("jax")

from nnbench_jax import network as module
from nnbench_jax.network import JaxNetwork

EXAMPLES, BATCH_SIZE = 44, 8  # the last batch is smaller
SPEC = make_spec((6, 5, 3), KINDS[0], OPTIMIZERS[1])


@pytest.fixture
def network():
    made = JaxNetwork(SPEC)
    made.load(make_layers(SPEC))
    return made


def test_other_lengths_of_an_order_compile_nothing(network):
    data = network.place(make_examples(SPEC, EXAMPLES))
    network.train_epoch(data, np.arange(BATCH_SIZE), BATCH_SIZE)
    before = network.compilations()
    assert before > 0
    for steps in (2, 5):
        losses = network.train_epoch(data, np.arange(steps * BATCH_SIZE), BATCH_SIZE)
        assert len(losses) == steps
    assert network.compilations() == before


def test_an_epoch_of_several_calls_equals_one_call(network, monkeypatch):
    data, order = network.place(make_examples(SPEC, EXAMPLES)), np.arange(EXAMPLES)[::-1]
    losses, parameters = network.train_epoch(data, order, BATCH_SIZE), network.dump()
    monkeypatch.setattr(module, "ROWS", 2 * BATCH_SIZE)  # two steps a call
    network.load(make_layers(SPEC))
    assert network.train_epoch(data, order, BATCH_SIZE) == pytest.approx(losses, rel=1e-6)
    assert distance(network.dump(), parameters) < 1e-6


def test_it_does_not_run_on_another_platform(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(BackendUnavailableError, match=r"runs on gpu.*JAX_PLATFORMS=cpu"):
        JaxNetwork(SPEC)
