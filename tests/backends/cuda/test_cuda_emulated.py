"""The ``cuda`` backend on a GPU that the CPU emulates: its own kernel, and all of it but the calls of the driver.

Compiling takes seconds for each network: ``make device-code``.
"""

import shutil

import numpy as np
import pytest

from nnbench import Backend
from nnbench.testing import conformance
from nnbench.testing.subject import required
from nnbench_cuda import supports
from nnbench_cuda.network import CudaNetwork
from nnbench_cuda.plan import Limits
from tests.backends.cuda.emulation import EmulatedGpu
from tests.backends.expected import train_reference
from tests.problems import KINDS, OPTIMIZERS, distance, make_examples, make_layers, make_spec

pytestmark = [
    pytest.mark.device_code,
    pytest.mark.skipif(
        shutil.which("g++") is None and "native" not in required(), reason="there is no g++"
    ),
]
SGD, ADAM, _, FRESH = OPTIMIZERS


def make(spec, **changes):
    network = CudaNetwork(spec, EmulatedGpu(**changes))
    network.load(make_layers(spec))
    return network


TestEmulated = conformance(
    Backend(
        name="cuda-emulated",
        summary="cuda on an emulated GPU",
        create=lambda spec: CudaNetwork(spec, EmulatedGpu()),
        supports=supports,
        device="cuda",
    )
)


@pytest.mark.parametrize(
    ("sizes", "kind", "optimizer", "count", "batch_size", "changes"),
    [
        pytest.param((784, 50, 10), KINDS[0], ADAM, 100, 64, {"threads": 256}, id="mnist"),
        pytest.param(
            (784, 50, 10), KINDS[0], ADAM, 100, 64, {"limits": Limits(99 * 1024, clusters=False)},
            id="mnist, chunks of 32, no clusters",
        ),
        pytest.param((60, 20, 12, 40), KINDS[-1], FRESH, 90, 40, {"chunk": 12}, id="many outputs"),
        pytest.param((70, 3), KINDS[1], SGD, 50, 30, {"threads": 32}, id="no hidden layer"),
        pytest.param(
            (33, 8, 4), KINDS[5], ADAM, 50, 33, {"chunk": 8, "clusters": False},
            id="a last chunk of one, no clusters",
        ),
    ],
)  # fmt: skip
def test_epochs_match_the_reference(sizes, kind, optimizer, count, batch_size, changes):
    spec = make_spec(sizes, kind, optimizer)
    examples = make_examples(spec, count)
    network = make(spec, **changes)
    data = network.place(examples)
    orders = [np.random.default_rng(epoch).permutation(count) for epoch in range(2)]
    losses = np.concatenate([network.train_epoch(data, order, batch_size) for order in orders])
    expected, layers = train_reference(spec, examples, orders, batch_size)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert distance(network.dump(), layers) < 1e-5
    logits = network.predict(network.batch(data, orders[0]))
    assert logits == pytest.approx(np.vstack([
        network.predict(network.batch(data, orders[0][:7])),
        network.predict(network.batch(data, orders[0][7:])),
    ]))  # fmt: skip


@pytest.mark.parametrize("clusters", [True, False])
def test_whatever_thread_goes_on_first_the_bits_are_the_same(clusters):
    spec = make_spec((70, 9, 6, 4), KINDS[1], ADAM)
    examples, order = make_examples(spec, 75), np.random.default_rng(0).permutation(75)

    def train(seed):
        network = make(spec, clusters=clusters, chunk=16)
        network._kernel.seed = seed
        losses = network.train_epoch(network.place(examples), order, 30)
        return [losses, *(part for layer in network.dump() for part in layer)]

    first, *others = (train(1000 * seed) for seed in range(6))
    for other in others:
        assert all(map(np.array_equal, first, other))


def test_rows_that_are_not_there_are_refused():
    spec = make_spec((6, 5, 5, 3), KINDS[0], ADAM)
    network = make(spec)
    data = network.place(make_examples(spec, 4))
    with pytest.raises(IndexError, match="rows 0 to 4, but there are 4"):
        network.train_epoch(data, np.arange(5), 2)
    with pytest.raises(IndexError, match="rows -1 to 0"):
        network.batch(data, np.array([0, -1]))
    assert network.train_epoch(data, np.arange(0), 2).shape == (0,)


def test_no_thread_waits_for_ever_whatever_the_last_batch_has():
    """The emulated GPU would say so; blocks that own no image of a batch are among them."""
    spec = make_spec((70, 9, 6, 4), KINDS[1], ADAM)
    network = make(spec, chunk=16)
    data = network.place(make_examples(spec, 40))
    for count in range(1, 36):
        for batch_size in (1, 16, 17, 40):
            losses = network.train_epoch(data, np.arange(count), batch_size)
            assert len(losses) == -(-count // batch_size)
            assert np.isfinite(losses).all()
