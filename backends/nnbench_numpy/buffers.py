"""Where a network's numbers lie: a split as it is kept, and the buffers of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nnbench import NetworkSpec

    Array = NDArray[np.float32]
    Bytes = NDArray[np.uint8]

SHADE = np.float32(1 / 255)  #: of grey: what the byte of a pixel is multiplied by
BLOCK = 256  #: examples that are brought into form at once, in the cache


class Data(NamedTuple):
    """A split of M examples."""

    #: shape (M, W), or (M, 1 + W) with the ones: the first W inputs of our order. Bytes are pixels,
    #: SHADE apart: a quarter of the memory to gather from.
    inputs: Array | Bytes
    targets: Array  #: shape (M, K); classes are one-hot


class Batch(NamedTuple):
    """N examples of a split, as columns."""

    inputs: Array  #: shape (W, N), or (1 + W, N) with the ones
    targets: Array  #: shape (K, N)


@dataclass(frozen=True)
class Workspace:
    """The buffers of one batch size N and one width W."""

    codes: Bytes  #: the inputs, where they are gathered as bytes
    rows: Batch  #: as it is gathered, examples are rows
    batch: Batch  #: views of it, examples are columns
    values: list[Array]  #: the input of each layer, with the ones, shape ([1 +] fan_in, N)
    products: list[Array]  #: of each layer, before its activation, shape (fan_out, N)
    outputs: list[Array]  #: of each layer, without the ones: views of the next layer's input
    deltas: list[Array]  #: the loss's derivative by each layer's output; the last holds softmax
    slopes: list[Array]  #: scratch for the derivative of each hidden activation
    row: Array  #: scratch, shape (N,)


def make_workspace(spec: NetworkSpec, n: int, width: int) -> Workspace:
    """Allocate the buffers for N examples and so many inputs, the ones included."""
    ones = int(spec.bias)
    rows = Batch(np.empty((n, width), np.float32), np.empty((n, spec.sizes[-1]), np.float32))
    hidden = [np.ones((ones + size, n), np.float32) for size in spec.sizes[1:-1]]
    logits = np.empty((spec.sizes[-1], n), np.float32)
    outputs = [*(value[ones:] for value in hidden), logits]
    products = list(outputs)
    if hidden:
        products[0] = np.empty((n, spec.sizes[1]), np.float32).T  # examples are rows here
    return Workspace(
        codes=np.empty((n, width), np.uint8),
        rows=rows,
        batch=Batch(rows.inputs.T, rows.targets.T),
        values=[rows.inputs.T, *hidden],
        products=products,
        outputs=outputs,
        deltas=[np.empty_like(output) for output in outputs],
        slopes=[np.empty_like(output) for output in outputs],
        row=np.empty(n, np.float32),
    )


def keep(inputs: Array, columns: NDArray[np.int64], ones: int) -> Array | Bytes:
    """Return so many ones and then some columns of the inputs, as bytes if all inputs are pixels."""
    slices = [slice(start, start + BLOCK) for start in range(0, len(inputs), BLOCK)]
    pixels = all(are_pixels(inputs[rows]) for rows in slices)
    shape = len(inputs), ones + len(columns)
    kept: Array | Bytes
    kept = np.full(shape, 255, np.uint8) if pixels else np.ones(shape, np.float32)
    for rows in slices:
        picked = inputs[rows][:, columns]
        kept[rows, ones:] = to_bytes(picked) if pixels else picked
    return kept


def are_pixels(values: Array) -> bool:
    """Say whether all values are the bytes from 0 to 255, times SHADE."""
    if not 0 <= values.min(initial=0) <= values.max(initial=0) <= 1:
        return False
    return np.array_equal(to_bytes(values) * SHADE, values)


def to_bytes(values: Array) -> Bytes:
    """Return the bytes nearest to these values, which are 0 to 1."""
    codes: Bytes = np.rint(values / SHADE).astype(np.uint8)
    return codes
