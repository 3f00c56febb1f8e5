"""Every registered backend passes the suite that ships; quick ones train many more networks.

Those that compile for seconds, or start processes, take too long: ``make conformance`` runs the suite on them.
"""

import numpy as np
import pytest
from hypothesis import given

from nnbench import catalog, minibatches, reference
from nnbench.testing import conformance
from tests.conftest import is_quick
from tests.problems import (
    COUNTS,
    KINDS,
    OPTIMIZERS,
    SEEDS,
    SIZES,
    TWO_HIDDEN,
    distance,
    kind_name,
    make_examples,
    make_layers,
    make_spec,
)

for name, registered in catalog.backends().items():
    if is_quick(registered):
        globals()[f"Test {name}"] = conformance(name)

EXAMPLES, BATCH_SIZE = 20, 8
#: they compile nothing, so that another network costs them nothing
quick = pytest.mark.parametrize("backend", ["python", "numpy", "torch-cpu"], indirect=True)


def make(backend, spec, seed=0):
    network = backend.network(spec, 8)
    network.load(make_layers(spec, seed))
    return network


@quick
@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
@pytest.mark.parametrize("sizes", [SIZES, TWO_HIDDEN], ids=["any depth", "two hidden layers"])
def test_gradients_and_loss_of_any_network(backend, kind, sizes):
    @given(sizes, COUNTS, SEEDS)
    def check(sizes, count, seed):
        spec = make_spec(sizes, kind)
        layers, examples = make_layers(spec, seed), make_examples(spec, count, seed)
        network = make(backend, spec, seed)
        batch = network.batch(network.place(examples), np.arange(count))
        network.feedforward(batch)
        loss = float(network.backprop(batch))
        exact = [reference.cast(layer, np.float64) for layer in layers]
        expected_loss, gradients = reference.backprop(
            spec, exact, reference.cast(examples, np.float64)
        )
        assert loss == pytest.approx(expected_loss, rel=1e-4)
        assert distance(network.gradients(), gradients) < 1e-4

    check()


@quick
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.kind}-{o.epsilon}")
@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
def test_epochs_of_every_kind_and_optimizer(backend, kind, optimizer):
    """All combinations, where the suite has six in which any two choices meet."""
    spec = make_spec((6, 5, 4, 3), kind, optimizer)
    examples = make_examples(spec, EXAMPLES)
    network = make(backend, spec)
    data = network.place(examples)
    orders = [np.random.default_rng(epoch).permutation(EXAMPLES) for epoch in range(4)]
    losses = np.concatenate([network.train_epoch(data, o, BATCH_SIZE) for o in orders])
    network.synchronize()
    batches = [examples.rows(i) for order in orders for i in minibatches(order, BATCH_SIZE)]
    expected, layers = reference.train(spec, make_layers(spec), batches)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert distance(network.dump(), layers) < 1e-4
