"""Inputs that are bytes scaled to 0…1, as a dataset of images gives them."""

import numpy as np
import pytest

from nnbench import Examples
from nnbench_numpy.buffers import keep
from tests.backends.expected import train_reference
from tests.problems import KINDS, OPTIMIZERS, distance, make_examples, make_layers, make_spec

COUNT = 12
ORDERS = [np.arange(COUNT), np.arange(COUNT)[::-1].copy()]
BYTES = np.arange(256, dtype=np.uint8).reshape(16, 16)
PIXELS = BYTES * np.float32(1 / 255)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[-1]], ids=["first", "last"])
def test_training_on_pixels_matches_the_reference(backend, kind):
    spec = make_spec((6, 5, 3), kind, OPTIMIZERS[1])
    drawn = make_examples(spec, COUNT)
    pixels = np.random.default_rng(1).integers(0, 256, drawn.inputs.shape, np.uint8)
    examples = Examples(pixels * np.float32(1 / 255), drawn.labels, drawn.targets)
    network = backend.network(spec, 8)
    data = network.place(examples)
    network.load(make_layers(spec))
    losses = [loss for order in ORDERS for loss in network.train_epoch(data, order, 5)]
    expected, layers = train_reference(spec, examples, ORDERS, 5)
    assert losses == pytest.approx(expected, rel=1e-4)
    assert distance(network.dump(), layers) < 1e-4


def test_numpy_keeps_pixels_as_their_bytes():
    kept = keep(PIXELS, np.array([2, 1, 15]), ones=1)
    assert kept.dtype == np.uint8
    assert np.array_equal(kept, np.insert(BYTES[:, [2, 1, 15]], 0, 255, axis=1))


@pytest.mark.parametrize(
    "change", [np.nan, -PIXELS[0, 1], 256 * PIXELS[0, 1], np.nextafter(PIXELS[0, 9], np.float32(1))]
)
def test_numpy_keeps_anything_else_as_it_is(change):
    values = PIXELS.copy()
    values[0, 9] = change
    kept = keep(values, np.arange(9, 11), ones=1)
    assert kept.dtype == np.float32
    assert np.array_equal(kept, np.insert(values[:, 9:11], 0, 1, axis=1), equal_nan=True)
