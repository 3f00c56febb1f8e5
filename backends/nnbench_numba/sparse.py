"""The first layer, whose inputs are mostly zero: four fifths of MNIST's pixels are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnbench_numba.compilation import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nnbench_numba.arrays import Array, Integers, Split


@compiled
def compress(inputs: Array) -> tuple[Integers, NDArray[np.int32], Array]:
    """Keep what is not zero: starts, columns and values of a Split."""
    starts = np.zeros(len(inputs) + 1, np.int64)
    for i in range(len(inputs)):
        starts[i + 1] = starts[i] + np.count_nonzero(inputs[i])
    columns, values = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)
    at = 0
    for i in range(len(inputs)):
        for j in range(inputs.shape[1]):
            if inputs[i, j] != 0:
                columns[at], values[at] = j, inputs[i, j]
                at += 1
    return starts, columns, values


@compiled
def multiply_sparse(split: Split, rows: Integers, weight: Array, out: Array) -> None:
    """Add the product of some examples with a weight to ``out``; four inputs at a time."""
    starts, columns, values = split.starts, split.columns, split.values
    for n in range(len(rows)):
        z, i, end = out[n], starts[rows[n]], starts[rows[n] + 1]
        while i + 4 <= end:
            a, b = weight[columns[i]], weight[columns[i + 1]]
            c, d = weight[columns[i + 2]], weight[columns[i + 3]]
            va, vb, vc, vd = values[i], values[i + 1], values[i + 2], values[i + 3]
            for k in range(len(z)):
                z[k] += va * a[k] + vb * b[k] + vc * c[k] + vd * d[k]
            i += 4
        while i < end:
            a, va = weight[columns[i]], values[i]
            for k in range(len(z)):
                z[k] += va * a[k]
            i += 1


@compiled
def gradient_sparse(split: Split, rows: Integers, delta: Array, out: Array) -> None:
    """Write the gradient of the first weight: a row of it for each input that is not zero."""
    starts, columns, values = split.starts, split.columns, split.values
    out[:] = 0
    for n in range(len(rows)):
        d = delta[n]
        for i in range(starts[rows[n]], starts[rows[n] + 1]):
            row, value = out[columns[i]], values[i]
            for k in range(len(d)):
                row[k] += value * d[k]
