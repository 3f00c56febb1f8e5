"""Every registered backend trains the same network as the reference."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from nnbench import Examples, minibatches, reference, registry
from nnbench.evaluation import STEPS, TOLERANCE, deviation, expected_losses
from nnbench.preparation import make_task
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

RELU = KINDS[0]
EXAMPLES = 20
BATCH_SIZE = 8  # 20 examples: the last batch is smaller


def make(backend, spec, seed=0):
    network = backend.create(spec)
    network.load(make_layers(spec, seed))
    return network


def reference_batches(examples, order):
    for index in minibatches(order, BATCH_SIZE):
        yield Examples(*(None if part is None else part[index] for part in examples))


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
@pytest.mark.parametrize("sizes", [SIZES, TWO_HIDDEN], ids=["any depth", "two hidden layers"])
def test_gradients_and_loss_match_the_reference(backend, kind, sizes):
    @given(sizes, COUNTS, SEEDS)
    def check(sizes, count, seed):
        spec = make_spec(sizes, kind)
        layers, examples = make_layers(spec, seed), make_examples(spec, count, seed)
        network = make(backend, spec, seed)
        batch = network.batch(network.place(examples), np.arange(count))
        network.feedforward(batch)
        loss = float(network.backprop(batch))
        [expected_loss], _ = reference.train(spec, layers, [examples])
        exact = [reference.cast_layer(layer, np.float64) for layer in layers]
        _, gradients = reference.backprop(
            spec, exact, reference.cast_examples(examples, np.float64)
        )
        assert loss == pytest.approx(expected_loss, rel=1e-4)
        assert distance(network.gradients(), gradients) < 1e-4

    check()


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda o: f"{o.kind}-{o.epsilon}")
@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
def test_an_epoch_matches_the_reference(backend, kind, optimizer):
    spec = make_spec((6, 5, 4, 3), kind, optimizer)
    examples = make_examples(spec, EXAMPLES)
    network = make(backend, spec)
    data = network.place(examples)
    orders = [np.random.default_rng(epoch).permutation(EXAMPLES) for epoch in range(4)]
    losses = np.concatenate([network.train_epoch(data, o, BATCH_SIZE) for o in orders])
    network.synchronize()
    batches = [batch for order in orders for batch in reference_batches(examples, order)]
    expected, layers = reference.train(spec, make_layers(spec), batches)
    assert losses.dtype == np.float32
    assert losses == pytest.approx(expected, rel=1e-4)
    assert distance(network.dump(), layers) < 1e-4


def test_train_epoch_equals_the_three_phases(backend):
    spec = make_spec((6, 5, 3), RELU, OPTIMIZERS[1])
    examples, order = make_examples(spec, EXAMPLES), np.arange(EXAMPLES)[::-1].copy()
    whole, stepwise = make(backend, spec), make(backend, spec)
    whole.train_epoch(whole.place(examples), order, BATCH_SIZE)
    data = stepwise.place(examples)
    for index in minibatches(order, BATCH_SIZE):
        batch = stepwise.batch(data, index)
        stepwise.feedforward(batch)
        stepwise.backprop(batch)
        stepwise.update()
    assert distance(whole.dump(), stepwise.dump()) < 1e-6


def test_an_epoch_in_parts_equals_a_whole_one(backend):
    spec = make_spec((6, 5, 3), RELU, OPTIMIZERS[1])
    examples, order = make_examples(spec, EXAMPLES), np.arange(EXAMPLES)
    whole, parts = make(backend, spec), make(backend, spec)
    whole.train_epoch(whole.place(examples), order, BATCH_SIZE)
    data = parts.place(examples)
    parts.train_epoch(data, order[:BATCH_SIZE], BATCH_SIZE)
    parts.train_epoch(data, order[BATCH_SIZE:], BATCH_SIZE)
    assert distance(whole.dump(), parts.dump()) < 1e-6


@pytest.mark.parametrize("bias", [True, False])
def test_load_and_dump_are_inverse(backend, bias):
    spec = make_spec((6, 5, 3), RELU | {"bias": bias})
    layers = make_layers(spec)
    network = make(backend, spec)
    for found, expected in zip(network.dump(), layers, strict=True):
        assert found.weight.dtype == np.float32
        assert np.array_equal(found.weight, expected.weight)
        assert np.array_equal(found.bias, expected.bias) if bias else found.bias is None


def test_load_clears_the_state_of_the_optimizer(backend):
    spec = make_spec((6, 5, 3), RELU, OPTIMIZERS[1])
    examples, order = make_examples(spec, EXAMPLES), np.arange(EXAMPLES)
    network = make(backend, spec)
    data = network.place(examples)
    first = network.train_epoch(data, order, BATCH_SIZE)
    network.load(make_layers(spec))
    assert np.array_equal(network.train_epoch(data, order, BATCH_SIZE), first)


def test_dumped_and_given_arrays_are_copies(backend):
    spec = make_spec((6, 5, 3), RELU)
    layers, examples = make_layers(spec), make_examples(spec, EXAMPLES)
    given_weight, given_inputs = layers[0].weight.copy(), examples.inputs.copy()
    network = backend.create(spec)
    network.load(layers)
    dumped = network.dump()
    network.train_epoch(network.place(examples), np.arange(EXAMPLES), BATCH_SIZE)
    assert np.array_equal(layers[0].weight, given_weight)
    assert np.array_equal(dumped[0].weight, given_weight)
    assert np.array_equal(examples.inputs, given_inputs)
    assert not np.array_equal(network.dump()[0].weight, given_weight)


def test_predict_gives_the_logits_of_the_reference(backend):
    spec = make_spec((6, 5, 3), RELU)
    examples = make_examples(spec, EXAMPLES)
    network = make(backend, spec)
    data = network.place(examples)
    logits = network.predict(network.batch(data, np.arange(5)))
    expected = reference.feedforward(spec, make_layers(spec), examples.inputs[:5])[-1]
    assert logits.shape == (5, 3)
    assert logits.dtype == np.float32
    assert logits == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_two_networks_do_not_share_anything(backend):
    spec = make_spec((6, 5, 3), RELU, OPTIMIZERS[1])
    examples, order = make_examples(spec, EXAMPLES), np.arange(EXAMPLES)
    alone, one, other = make(backend, spec), make(backend, spec), make(backend, spec, seed=1)
    alone.train_epoch(alone.place(examples), order, BATCH_SIZE)
    data, other_data = one.place(examples), other.place(examples)
    for index in minibatches(order, BATCH_SIZE):
        one.train_epoch(data, index, BATCH_SIZE)
        other.train_epoch(other_data, index, BATCH_SIZE)
    assert distance(one.dump(), alone.dump()) < 1e-6


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", list(registry.workloads()))
def test_first_losses_of_every_workload(backend, name, seed, splits):
    """20 steps from the same parameters and batches; the wide network gets smaller ones."""
    workload, steps = registry.workloads()[name], STEPS
    if name == "mnist-wide":
        workload = replace(workload, batch_size=32)
        steps = 3 if backend.name == "python" else STEPS
    task = make_task(workload, splits[workload.dataset], seed)
    expected = expected_losses(task, steps)
    network = backend.create(task.network)
    network.load(task.layers)
    data = network.place(task.train)
    losses: list[float] = []
    for order in task.orders():
        wanted = (steps - len(losses)) * task.batch_size
        losses += network.train_epoch(data, order[:wanted], task.batch_size).tolist()
        if len(losses) == steps:
            break
    assert len(losses) == steps
    assert deviation(losses, expected.losses) < TOLERANCE


@pytest.fixture(scope="module")
def splits():
    """Load each dataset once, with no more training examples than 20 steps need."""
    loaded = {name: dataset.load() for name, dataset in registry.datasets().items()}
    return {
        name: s._replace(train=Examples(*(cut(p) for p in s.train))) for name, s in loaded.items()
    }


def cut(part):
    return None if part is None else part[-21_000:]
