"""The compiled functions: what each thread does in a step, and in an epoch.

A thread has a chunk of the batch's rows, and of the parameters. Chunks share nothing but what they
read; each sums gradients of its own. N is the batch size. All arrays are flat, and shapes are
values, never types, so that another network compiles nothing new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnbench_numba.barrier import meet
from nnbench_numba.compilation import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Integers = NDArray[np.int64]

# Kinds as compiled code knows them; there, one that is none of them raises an error.
ACTIVATIONS = {"relu": 0, "sigmoid": 1}
LOSSES = {"cross_entropy": 0, "squared_error": 1}
OPTIMIZERS = {"sgd": 0, "adam": 1, "adam-fresh": 2}
RELU, SIGMOID = ACTIVATIONS.values()
CROSS_ENTROPY, SQUARED_ERROR = LOSSES.values()
SGD, ADAM, FRESH_ADAM = OPTIMIZERS.values()


class Split(NamedTuple):
    """Examples, with only those inputs that are not zero."""

    starts: Integers  #: shape (M + 1,): where each example's inputs start
    columns: NDArray[np.int32]  #: which input it is, shape (inputs that are not zero,)
    values: Array  #: the input, likewise
    targets: Array  #: shape (M, K); classes are one-hot


class Model(NamedTuple):
    """A network without its parameters."""

    sizes: Integers  #: units of each layer
    offsets: Integers  #: where each layer's parameters start in the flat array, and the last end
    columns: Integers  #: how many units all earlier layers have, but for the inputs
    activation: int  #: of ACTIVATIONS
    loss: int  #: of LOSSES
    l2: np.float32


class Rule(NamedTuple):
    """An optimizer."""

    kind: int  #: of OPTIMIZERS
    learning_rate: float
    beta1: float
    beta2: float
    epsilon: float


class State(NamedTuple):
    """The arrays of one network; P is the number of its parameters."""

    parameters: Array  #: shape (P,): each layer's weight, then its bias
    partial: Array  #: shape (chunks, P): the gradients of each chunk's rows
    gradients: Array  #: shape (P,): scratch for their sum
    first: Array  #: shape (P,): Adam's moments
    second: Array


class Workspace(NamedTuple):
    """What feedforward leaves for backprop, layer after layer, each of shape (N, units)."""

    values: Array  #: the layers' outputs; the last are the logits
    deltas: Array  #: the loss's derivative by what each activation gets


@compiled
def weight_of(flat: Array, model: Model, layer: int) -> Array:
    """View a layer's weight, shape (fan_in, fan_out)."""
    rows, columns = model.sizes[layer], model.sizes[layer + 1]
    start = model.offsets[layer]
    return flat[start : start + rows * columns].reshape((rows, columns))


@compiled
def bias_of(flat: Array, model: Model, layer: int) -> Array:
    """View a layer's bias, shape (fan_out,); shape (0,) in a network without biases."""
    end = model.offsets[layer + 1]
    size = end - model.offsets[layer] - model.sizes[layer] * model.sizes[layer + 1]
    return flat[end - size : end]


@compiled
def rows_of(flat: Array, model: Model, layer: int, n: int, low: int, high: int) -> Array:
    """View rows low to high of what a layer puts out (or of its deltas), in a batch of n."""
    units = model.sizes[layer + 1]
    start = n * model.columns[layer]
    return flat[start + low * units : start + high * units].reshape((high - low, units))


@compiled
def sigmoid(z: np.float32) -> np.float32:
    """Return 1 / (1 + e^-z) = (1 + tanh(z / 2)) / 2, which never overflows."""
    half = np.float32(0.5)
    return half * np.tanh(half * z) + half


@compiled
def activate(model: Model, out: Array, bias: Array, hidden: bool) -> None:
    """Add the bias, if there is one, and apply the activation if the layer is a hidden one."""
    for i in range(len(out)):
        z = out[i]
        for k in range(len(bias)):
            z[k] += bias[k]
        if not hidden:
            continue
        if model.activation == RELU:
            for k in range(len(z)):
                z[k] = max(z[k], np.float32(0))
        elif model.activation == SIGMOID:
            for k in range(len(z)):
                z[k] = sigmoid(z[k])
        else:
            raise ValueError("no such activation")


@compiled
def slope(model: Model, value: Array, delta: Array) -> None:
    """Multiply delta by the derivative of the hidden activation that gave ``value``."""
    for i in range(len(value)):
        a, d = value[i], delta[i]
        if model.activation == RELU:
            for k in range(len(a)):
                d[k] = d[k] if a[k] > 0 else np.float32(0)
        elif model.activation == SIGMOID:
            for k in range(len(a)):
                d[k] *= a[k] * (np.float32(1) - a[k])
        else:
            raise ValueError("no such activation")


@compiled
def cross_entropy(logits: Array, target: Array, delta: Array, scale: np.float32) -> float:
    """Return one example's cross-entropy of a softmax; its derivative times scale to delta."""
    top = logits.max()
    total, loss = np.float32(0), np.float32(0)
    for k in range(len(logits)):
        delta[k] = np.exp(logits[k] - top)
        total += delta[k]
        loss -= target[k] * (logits[k] - top)
    for k in range(len(logits)):
        delta[k] = (delta[k] / total - target[k]) * scale
    return loss + np.log(total)


@compiled
def squared_error(logits: Array, target: Array, delta: Array, scale: np.float32) -> float:
    """Return one example's mean squared error of a sigmoid; its derivative goes to delta."""
    loss, two = np.float32(0), np.float32(2)
    for k in range(len(logits)):
        y = sigmoid(logits[k])
        error = y - target[k]
        loss += error * error
        delta[k] = two * error * y * (1 - y) * (scale / np.float32(len(logits)))
    return loss / len(logits)


# The first layer, whose inputs are mostly zero: four fifths of MNIST's pixels are.


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


# The phases of a chunk.


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


@compiled
def optimize(rule: Rule, step: int, p: Array, g: Array, m: Array, v: Array) -> None:
    """Update parameters p by their gradients g; m and v are Adam's moments, step counts from 1."""
    rate, epsilon = np.float32(rule.learning_rate), np.float32(rule.epsilon)
    if rule.kind == ADAM:
        adam(rule, step, p, g, m, v)
    elif rule.kind == SGD:
        for i in range(len(p)):
            p[i] -= rate * g[i]
    elif rule.kind == FRESH_ADAM:  # Adam's first step: m̂ = g and v̂ = g²
        for i in range(len(p)):
            p[i] -= rate * g[i] / (abs(g[i]) + epsilon)
    else:
        raise ValueError("no such optimizer")


@compiled
def adam(rule: Rule, step: int, p: Array, g: Array, m: Array, v: Array) -> None:
    """Make a step of Adam with scaled moments, as ``nnbench.Optimizer.scaled`` derives it."""
    scale = np.sqrt((1 - rule.beta2) / (1 - rule.beta2**step))
    rate = np.float32(rule.learning_rate * (1 - rule.beta1) / (1 - rule.beta1**step) / scale)
    epsilon = np.float32(rule.epsilon / scale)
    beta1, beta2 = np.float32(rule.beta1), np.float32(rule.beta2)
    for i in range(len(p)):
        m[i] = beta1 * m[i] + g[i]
        v[i] = beta2 * v[i] + g[i] * g[i]
        p[i] -= rate * m[i] / (np.sqrt(v[i]) + epsilon)


@compiled
def train(
    model: Model,
    rule: Rule,
    state: State,
    split: Split,
    order: Integers,
    batch_size: int,
    work: Workspace,
    steps_before: int,
    losses: Array,
    arrivals: Integers,
    chunk: int,
) -> None:
    """Train on the examples in the given order, all chunks at once.

    ``losses`` gets the chunk's part of each step's loss, shape (steps,).
    """
    chunks = len(state.partial)
    for s in range(len(losses)):
        index = order[s * batch_size : (s + 1) * batch_size]
        feedforward(model, state, split, index, work, chunk)
        losses[s] = backprop(model, state, split, index, work, chunk)
        meet(arrivals, chunks)  # all gradients are there
        update(rule, state, steps_before + s + 1, chunk)
        meet(arrivals, chunks)  # all parameters are
