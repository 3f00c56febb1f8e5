"""The phases of one chunk: a share of a batch's rows, or of the parameters.

Chunks share nothing but what they read; each sums gradients of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnbench_numba.activations import activate, cross_entropy, slope, squared_error
from nnbench_numba.arrays import CROSS_ENTROPY, SQUARED_ERROR, bias_of, rows_of, weight_of
from nnbench_numba.compilation import compiled
from nnbench_numba.optimizers import optimize
from nnbench_numba.sparse import gradient_sparse, multiply_sparse

if TYPE_CHECKING:
    from nnbench_numba.arrays import Array, Integers, Model, Split, State, Workspace
    from nnbench_numba.optimizers import Rule


@compiled
def share(total: int, chunk: int, chunks: int) -> tuple[int, int]:
    """Return where a chunk's share begins and ends."""
    return total * chunk // chunks, total * (chunk + 1) // chunks


@compiled
def feedforward(
    model: Model, state: State, split: Split, index: Integers, work: Workspace, chunk: int
) -> None:
    """Compute the outputs of all layers for a chunk of a batch."""
    n, last = len(index), len(model.sizes) - 2
    low, high = share(n, chunk, len(state.partial))
    for layer in range(last + 1):
        weight = weight_of(state.parameters, model, layer)
        out = rows_of(work.values, model, layer, n, low, high)
        if layer == 0:
            out[:] = 0
            multiply_sparse(split, index[low:high], weight, out)
        else:
            np.dot(rows_of(work.values, model, layer - 1, n, low, high), weight, out)
        activate(model, out, bias_of(state.parameters, model, layer), layer < last)


@compiled
def backprop(
    model: Model, state: State, split: Split, index: Integers, work: Workspace, chunk: int
) -> float:
    """Compute a chunk's part of the gradients; return its part of the loss."""
    n, out = len(index), state.partial[chunk]
    low, high = share(n, chunk, len(state.partial))
    loss = 0.0
    if low == high:
        out[:] = 0
    else:
        loss = losses_and_deltas(model, split, index, work, low, high) / n
        gradients(model, state.parameters, split, index, work, low, high, out)
    if chunk == 0 and model.l2 > 0:
        loss += penalize(model, state.parameters, out)
    return loss


@compiled
def losses_and_deltas(
    model: Model, split: Split, index: Integers, work: Workspace, low: int, high: int
) -> float:
    """Return the sum of some rows' losses; leave its derivatives by the logits, over N."""
    n, last = len(index), len(model.sizes) - 2
    loss, scale = 0.0, np.float32(1 / n)
    logits = rows_of(work.values, model, last, n, low, high)
    delta = rows_of(work.deltas, model, last, n, low, high)
    for i in range(high - low):
        target = split.targets[index[low + i]]
        if model.loss == CROSS_ENTROPY:
            loss += cross_entropy(logits[i], target, delta[i], scale)
        elif model.loss == SQUARED_ERROR:
            loss += squared_error(logits[i], target, delta[i], scale)
        else:
            raise ValueError("no such loss")
    return loss


@compiled
def gradients(
    model: Model,
    parameters: Array,
    split: Split,
    index: Integers,
    work: Workspace,
    low: int,
    high: int,
    out: Array,
) -> None:
    """Write the gradients of some rows, from the last layer to the first."""
    n = len(index)
    for layer in range(len(model.sizes) - 2, -1, -1):
        delta = rows_of(work.deltas, model, layer, n, low, high)
        gradient = weight_of(out, model, layer)
        add_rows(delta, bias_of(out, model, layer))
        if layer == 0:
            gradient_sparse(split, index[low:high], delta, gradient)
        else:
            value = rows_of(work.values, model, layer - 1, n, low, high)
            below = rows_of(work.deltas, model, layer - 1, n, low, high)
            np.dot(value.T, delta, gradient)
            np.dot(delta, weight_of(parameters, model, layer).T, below)
            slope(model, value, below)


@compiled
def add_rows(delta: Array, bias: Array) -> None:
    """Write the gradient of a bias, if there is one."""
    bias[:] = 0
    for i in range(len(delta)):
        d = delta[i]
        for k in range(len(bias)):
            bias[k] += d[k]


@compiled
def penalize(model: Model, parameters: Array, out: Array) -> float:
    """Add the L2 term to gradients, and return its part of the loss."""
    squares = 0.0
    for layer in range(len(model.sizes) - 1):
        start = model.offsets[layer]
        for i in range(start, start + model.sizes[layer] * model.sizes[layer + 1]):
            out[i] += model.l2 * parameters[i]
            squares += parameters[i] * parameters[i]
    return model.l2 / 2 * squares


@compiled
def update(rule: Rule, state: State, step: int, chunk: int) -> None:
    """Sum the gradients of a chunk of the parameters, and make the optimizer's step with them."""
    low, high = share(len(state.parameters), chunk, len(state.partial))
    g = state.partial[0, low:high]
    if len(state.partial) > 1:
        g = state.gradients[low:high]
        g[:] = state.partial[0, low:high]
        for other in range(1, len(state.partial)):
            g += state.partial[other, low:high]
    p, m, v = state.parameters[low:high], state.first[low:high], state.second[low:high]
    optimize(rule, step, p, g, m, v)
