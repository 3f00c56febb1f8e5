"""The partition of the ``cuda`` backend: where everything lies, and that its messages train the network."""

import numpy as np
import pytest

from nnbench import BackendUnavailableError
from nnbench_cuda import supports
from nnbench_cuda.plan import Limits, Plan, plans, why_too_large
from tests.backends.cuda import model
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

MNIST = make_spec((784, 50, 10), KINDS[0], OPTIMIZERS[1])
HOPPER, AMPERE, ADA = (
    Limits(),
    Limits(163 * 1024, clusters=False),
    Limits(99 * 1024, clusters=False),
)
PLANS = [  # sizes, blocks, chunk, examples, batch size
    pytest.param((6, 5, 5, 3), 2, 64, 20, 8, id="two blocks"),
    pytest.param((6, 3), 2, 4, 21, 10, id="no hidden layer, chunks of four"),
    pytest.param((61, 7, 5, 4, 9), 16, 8, 45, 20, id="sixteen blocks, more than images in a chunk"),
    pytest.param((40, 33, 34), 8, 32, 70, 70, id="one batch, in chunks"),
    pytest.param((9, 4, 8), 1, 16, 33, 16, id="one block, a last batch of one"),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS[:1] + OPTIMIZERS[2:], ids=lambda o: o.kind)
@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
@pytest.mark.parametrize(("sizes", "blocks", "chunk", "count", "batch_size"), PLANS)
def test_its_messages_train_as_the_reference_does(
    sizes, blocks, chunk, count, batch_size, kind, optimizer
):
    spec = make_spec(sizes, kind, optimizer)
    examples, order = make_examples(spec, count), np.random.default_rng(1).permutation(count)
    plan = Plan(spec, blocks, chunk)
    losses, layers = model.train(plan, make_layers(spec), examples, order, batch_size)
    expected, trained = train_reference(spec, examples, [order], batch_size)
    assert losses == pytest.approx(expected, rel=1e-12)
    assert distance(layers, trained) < 1e-10


@pytest.mark.parametrize("sizes", [(784, 50, 10), (6, 3), (3, 5, 5, 1), (785, 4, 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_what_is_packed_is_unpacked(sizes, bias):
    spec = make_spec(sizes, {**KINDS[0], "bias": bias})
    for plan in plans(spec, HOPPER):
        flat = plan.pack(make_layers(spec))
        assert flat.shape == (plan.count,)
        assert np.count_nonzero(flat) <= spec.parameter_count
        assert distance(plan.unpack(flat), make_layers(spec)) == 0
        assert all(layer.bias is not None for layer in plan.unpack(flat)) == bias


def test_no_two_things_share_a_place():
    for sizes in [(784, 50, 10), (6, 5, 5, 3), (3, 1), (300, 64, 32, 16, 7)]:
        for plan in plans(make_spec(sizes, KINDS[0], OPTIMIZERS[1]), HOPPER):
            numbers = [*plan.heights, *plan.widths, *plan.record, *plan.matrices, plan.example]
            assert not any(number % 4 for number in [*numbers, *plan.shared.values()])
            assert [*plan.shared.values()] == sorted(plan.shared.values())
            owners = {plan.owner(image) for image in range(plan.chunk)}
            assert len(owners) == plan.chunk
            assert max(number for _, number in owners) < plan.own
            assert plan.blocks * plan.rows >= sizes[0] + 1 > (plan.blocks - 1) * plan.rows


@pytest.mark.parametrize(
    ("limits", "blocks", "chunk"), [(HOPPER, 16, 64), (AMPERE, 16, 64), (ADA, 16, 32)]
)
def test_mnist_fits(limits, blocks, chunk):
    plan = next(plans(MNIST, limits))
    assert (plan.blocks, plan.chunk, plan.clusters) == (blocks, chunk, limits.clusters)
    assert plan.shared_bytes <= limits.shared_bytes


def test_fewer_blocks_are_tried_where_those_do_not_run():
    assert [plan.blocks for plan in plans(MNIST, HOPPER)] == [16, 8, 4]
    small = make_spec((6, 5, 3), KINDS[0])
    assert [plan.blocks for plan in plans(small, HOPPER)] == [2, 1]


def test_a_network_that_does_not_fit_is_refused_in_one_line():
    wide = make_spec((784, 512, 512, 10), KINDS[0], OPTIMIZERS[1])
    reason = supports(wide, 512)
    assert reason == why_too_large(wide)
    assert reason.startswith("the network does not stay on the chip: each of 16 blocks would need ")
    assert reason.endswith(" KiB, and there are 227")
    with pytest.raises(BackendUnavailableError, match="and there are 99"):
        next(plans(make_spec((784, 100, 10), KINDS[0], OPTIMIZERS[1]), Limits(99 * 1024)))
    assert supports(MNIST, 512) is supports(MNIST, 1) is None


def test_labels_that_are_no_class_are_refused():
    examples = make_examples(MNIST, 4)
    for change in (10, -11):
        with pytest.raises(IndexError, match="labels"):
            next(plans(MNIST, HOPPER)).lay_out(examples._replace(labels=examples.labels + change))
