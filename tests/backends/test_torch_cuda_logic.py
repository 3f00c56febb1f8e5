"""Recorded steps, on the CPU: a tape stands in for a CUDA graph.

Like a graph, a tape replays operations on the memory they were recorded on, without the Python
around them, and refuses to wait for a value. What is not tested here are the calls to CUDA.
"""

import numpy as np
import pytest

from nnbench import BackendUnavailableError, catalog
from nnbench.testing import diagnosis
from nnbench.testing.problems import Problem
from tests.backends.expected import train_reference
from tests.problems import (
    KINDS,
    OPTIMIZERS,
    distance,
    kind_name,
    make_examples,
    make_layers,
    make_spec,
)

torch = pytest.importorskip("torch")

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nnbench_torch import recording
from nnbench_torch.optimizers import make_optimizer
from nnbench_torch.recording import RecordedNetwork, chunk_lengths

BATCH_SIZE = 8
EXAMPLES = BATCH_SIZE * 11 + 3  # eleven full batches and a smaller one


class Tape(TorchDispatchMode):
    """Writes down every operation, and where its results lie."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default, "waits for a value"
        results = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, results))
        return results

    def replay(self):
        for function, args, kwargs, places in self.calls:
            results = function(*args, **kwargs)
            for result, place in zip(tree_leaves(results), tree_leaves(places), strict=True):
                if torch.is_tensor(result) and result.data_ptr() != place.data_ptr():
                    place.copy_(result)


class Tapes:
    """Records as CUDA graphs do: a warm-up run, then a run that is written down."""

    def __init__(self):
        self.recordings = 0

    def __call__(self, work):
        self.recordings += 1
        work()
        tape = Tape()
        with tape:
            work()
        return tape.replay


@pytest.fixture(autouse=True)
def short_chunks(monkeypatch):
    monkeypatch.setattr(recording, "STEPS", 4)


def make(spec, recorder=None):
    network = RecordedNetwork(spec, "cpu", recorder or Tapes())
    network.load(make_layers(spec))
    return network


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.kind}-{o.epsilon}")
@pytest.mark.parametrize("kind", KINDS[:3] + KINDS[-2:], ids=kind_name)
def test_replayed_epochs_match_the_reference(kind, optimizer):
    spec = make_spec((6, 5, 4, 3), kind, optimizer)
    examples = make_examples(spec, EXAMPLES)
    network = make(spec)
    data = network.place(examples)
    orders = [np.random.default_rng(epoch).permutation(EXAMPLES) for epoch in range(3)]
    losses = np.concatenate([network.train_epoch(data, order, BATCH_SIZE) for order in orders])
    expected, layers = train_reference(spec, examples, orders, BATCH_SIZE)
    assert losses.dtype == np.float32
    assert losses == pytest.approx(expected, rel=1e-4)
    assert distance(network.dump(), layers) < 1e-4
    if optimizer.keeps_moments:
        problem = Problem(spec, make_layers(spec), examples, orders, BATCH_SIZE)
        assert diagnosis.state("state", network.optimizer_state(), problem) is None


def test_two_recordings_serve_epochs_of_any_length():
    tapes = Tapes()
    spec = make_spec((6, 5, 3), KINDS[0], OPTIMIZERS[1])
    network = make(spec, tapes)
    data = network.place(make_examples(spec, EXAMPLES))
    for steps in (6, 4, 1, 11, 3):
        losses = network.train_epoch(data, np.arange(steps * BATCH_SIZE), BATCH_SIZE)
        assert losses.shape == (steps,)
    assert tapes.recordings == 2


def test_parts_of_an_epoch_equal_a_whole_one():
    spec = make_spec((6, 5, 3), KINDS[0], OPTIMIZERS[1])
    examples, order = make_examples(spec, EXAMPLES), np.arange(EXAMPLES)[::-1].copy()
    whole, parts = make(spec), make(spec)
    expected = whole.train_epoch(whole.place(examples), order, BATCH_SIZE)
    data = parts.place(examples)
    losses = [
        parts.train_epoch(data, part, BATCH_SIZE) for part in np.split(order, [8, 40, EXAMPLES - 3])
    ]
    assert np.array_equal(np.concatenate(losses), expected)
    assert distance(parts.dump(), whole.dump()) == 0


@pytest.mark.parametrize("change", ["data", "batch size"])
def test_other_data_and_other_batches_are_recorded_anew(change):
    spec = make_spec((6, 5, 3), KINDS[0], OPTIMIZERS[0])
    network, plain = make(spec), catalog.backends()["torch-cpu"].network(spec, 8)
    plain.load(make_layers(spec))
    first = network.place(make_examples(spec, 32))
    then = (first, 4) if change == "batch size" else (network.place(make_examples(spec, 32, 1)), 8)
    for data, batch_size in [(first, 8), then]:
        expected = plain.train_epoch(data, np.arange(32), batch_size)
        assert np.array_equal(network.train_epoch(data, np.arange(32), batch_size), expected)


def test_load_reaches_what_is_recorded():
    spec = make_spec((6, 5, 3), KINDS[0], OPTIMIZERS[1])
    network = make(spec)
    data = network.place(make_examples(spec, EXAMPLES))
    first = network.train_epoch(data, np.arange(EXAMPLES), BATCH_SIZE)
    network.load(make_layers(spec))
    assert np.array_equal(network.train_epoch(data, np.arange(EXAMPLES), BATCH_SIZE), first)


def test_an_optimizer_that_counts_in_python_would_not_survive():
    """The tape is strict enough to tell: this is why the graph needs the fused Adam."""
    spec = make_spec((6, 5, 3), KINDS[0], OPTIMIZERS[1])
    network, right = make(spec), make(spec)
    fused = network._optimizer
    network._optimizer = make_optimizer(spec.optimizer, fused.parameters, fused=False)
    examples, order = make_examples(spec, EXAMPLES), np.arange(EXAMPLES)
    for trained in (network, right):
        trained.train_epoch(trained.place(examples), order, BATCH_SIZE)
    assert distance(network.dump(), right.dump()) > 1e-3


@pytest.mark.parametrize(("steps", "lengths"), [(0, []), (1, [1]), (4, [4]), (11, [4, 4, 1, 1, 1])])
def test_steps_are_cut_into_two_lengths(steps, lengths):
    assert chunk_lengths(steps) == lengths


def test_a_graph_without_the_fused_optimizer_is_refused():
    spec = make_spec((6, 5, 3), KINDS[0])
    with pytest.raises(BackendUnavailableError, match="needs the fused optimizer"):
        catalog.backends()["torch-cuda"].network(spec, 8, graph=True, fused=False)
