"""What Numba compiles: loops over flat arrays, the same machine code for every network.

N is the batch size. Shapes are values here, never types, so that another network compiles nothing
new. Each phase has a function for some rows of a batch, or some of the parameters: the *chunk* of
one thread. Chunks share nothing but what they read; each sums its own gradients.

All functions are in one file, because that is what Numba's cache looks at: a change in a module
that a cached function calls would go unnoticed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numba
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float32]
    Integers = NDArray[np.int64]

SGD, ADAM, FRESH_ADAM = range(3)


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
    relu: bool  #: otherwise sigmoid
    cross_entropy: bool  #: otherwise squared error
    l2: np.float32


class Rule(NamedTuple):
    """The optimizer."""

    kind: int
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
    step: Integers  #: shape (1,): how many updates were made


class Workspace(NamedTuple):
    """What feedforward leaves for backprop, layer after layer, each of shape (N, units)."""

    values: Array  #: the layers' outputs; the last are the logits
    deltas: Array  #: the loss's derivative by what each activation gets


def compiled(*, parallel: bool = False) -> Callable[[Any], Any]:
    """Compile a function at its first call, from Numba's cache if there is a place for one.

    The flags allow sums in another order and fused multiply-adds, as BLAS has them, but no
    approximate division or root, and they keep infinities and NaN.
    """
    compile_with = partial(
        numba.njit,
        fastmath={"contract", "nsz", "reassoc"},
        error_model="numpy",
        nogil=True,
        parallel=parallel,
    )

    def decorate(function: Any) -> Any:
        try:
            return compile_with(cache=True)(function)
        except RuntimeError:  # neither beside this file nor in the user's cache can it write
            return compile_with()(function)

    return decorate


@compiled()
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


@compiled()
def weight_of(flat: Array, model: Model, layer: int) -> Array:
    """View a layer's weight, shape (fan_in, fan_out)."""
    rows, columns = model.sizes[layer], model.sizes[layer + 1]
    start = model.offsets[layer]
    return flat[start : start + rows * columns].reshape((rows, columns))


@compiled()
def bias_of(flat: Array, model: Model, layer: int) -> Array:
    """View a layer's bias, shape (fan_out,); shape (0,) in a network without biases."""
    end = model.offsets[layer + 1]
    size = end - model.offsets[layer] - model.sizes[layer] * model.sizes[layer + 1]
    return flat[end - size : end]


@compiled()
def rows_of(flat: Array, model: Model, layer: int, n: int, low: int, high: int) -> Array:
    """View rows low to high of what a layer puts out (or of its deltas), in a batch of n."""
    units = model.sizes[layer + 1]
    start = n * model.columns[layer]
    return flat[start + low * units : start + high * units].reshape((high - low, units))


@compiled()
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


@compiled()
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


@compiled()
def sigmoid(z: np.float32) -> np.float32:
    """Return 1 / (1 + e^-z) = (1 + tanh(z / 2)) / 2, which never overflows."""
    half = np.float32(0.5)
    return half * np.tanh(half * z) + half


@compiled()
def feedforward_rows(
    model: Model, state: State, split: Split, index: Integers, work: Workspace, low: int, high: int
) -> None:
    """Compute the outputs of all layers for rows low to high of a batch."""
    n, last = len(index), len(model.sizes) - 2
    for layer in range(last + 1):
        weight = weight_of(state.parameters, model, layer)
        bias = bias_of(state.parameters, model, layer)
        out = rows_of(work.values, model, layer, n, low, high)
        if layer == 0:
            out[:] = 0
            multiply_sparse(split, index[low:high], weight, out)
        else:
            np.dot(rows_of(work.values, model, layer - 1, n, low, high), weight, out)
        for i in range(high - low):
            z = out[i]
            for k in range(len(bias)):
                z[k] += bias[k]
            if layer < last and model.relu:
                for k in range(len(z)):
                    z[k] = max(z[k], np.float32(0))
            elif layer < last:
                for k in range(len(z)):
                    z[k] = sigmoid(z[k])


@compiled()
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


@compiled()
def squared_error(logits: Array, target: Array, delta: Array, scale: np.float32) -> float:
    """Return one example's mean squared error of a sigmoid; its derivative goes to delta."""
    loss, two = np.float32(0), np.float32(2)
    for k in range(len(logits)):
        y = sigmoid(logits[k])
        error = y - target[k]
        loss += error * error
        delta[k] = two * error * y * (1 - y) * (scale / np.float32(len(logits)))
    return loss / len(logits)


@compiled()
def slope(model: Model, value: Array, delta: Array) -> None:
    """Multiply delta by the derivative of the hidden activation that gave ``value``."""
    for i in range(len(value)):
        a, d = value[i], delta[i]
        if model.relu:
            for k in range(len(a)):
                d[k] = d[k] if a[k] > 0 else np.float32(0)
        else:
            for k in range(len(a)):
                d[k] *= a[k] * (np.float32(1) - a[k])


@compiled()
def backprop_rows(
    model: Model,
    state: State,
    split: Split,
    index: Integers,
    work: Workspace,
    low: int,
    high: int,
    out: Array,
) -> float:
    """Write the gradients of rows low to high to ``out``; return their share of the mean loss."""
    n, last = len(index), len(model.sizes) - 2
    if low == high:
        out[:] = 0
        return 0.0
    loss, scale = 0.0, np.float32(1 / n)
    logits = rows_of(work.values, model, last, n, low, high)
    delta = rows_of(work.deltas, model, last, n, low, high)
    for i in range(high - low):
        target = split.targets[index[low + i]]
        if model.cross_entropy:
            loss += cross_entropy(logits[i], target, delta[i], scale)
        else:
            loss += squared_error(logits[i], target, delta[i], scale)
    for layer in range(last, -1, -1):
        gradient = weight_of(out, model, layer)
        bias = bias_of(out, model, layer)
        bias[:] = 0
        for i in range(high - low):
            d = delta[i]
            for k in range(len(bias)):
                bias[k] += d[k]
        if layer == 0:
            gradient_sparse(split, index[low:high], delta, gradient)
        else:
            value = rows_of(work.values, model, layer - 1, n, low, high)
            below = rows_of(work.deltas, model, layer - 1, n, low, high)
            np.dot(value.T, delta, gradient)
            np.dot(delta, weight_of(state.parameters, model, layer).T, below)
            slope(model, value, below)
            delta = below
    return loss / n


@compiled()
def penalize(model: Model, parameters: Array, out: Array) -> float:
    """Add the L2 term to gradients, and return its part of the loss."""
    squares = 0.0
    for layer in range(len(model.sizes) - 1):
        start = model.offsets[layer]
        for i in range(start, start + model.sizes[layer] * model.sizes[layer + 1]):
            out[i] += model.l2 * parameters[i]
            squares += parameters[i] * parameters[i]
    return model.l2 / 2 * squares


@compiled()
def update_part(rule: Rule, state: State, low: int, high: int) -> None:
    """Sum the chunks' gradients of some parameters, and make the optimizer's step with them."""
    p, m, v = state.parameters[low:high], state.first[low:high], state.second[low:high]
    g = state.partial[0, low:high]
    if len(state.partial) > 1:
        g = state.gradients[low:high]
        g[:] = state.partial[0, low:high]
        for chunk in range(1, len(state.partial)):
            g += state.partial[chunk, low:high]
    if rule.kind == ADAM:
        adam(rule, state.step[0], p, g, m, v)
        return
    rate, epsilon = np.float32(rule.learning_rate), np.float32(rule.epsilon)
    for i in range(len(p)):
        if rule.kind == SGD:
            p[i] -= rate * g[i]
        else:  # Adam's first step: m̂ = g and v̂ = g²
            p[i] -= rate * g[i] / (abs(g[i]) + epsilon)


@compiled()
def adam(rule: Rule, step: int, p: Array, g: Array, m: Array, v: Array) -> None:
    """Make a step of Adam with scaled moments.

    They are m / (1 − β₁) and v / (1 − β₂), so that decaying them and adding g and g² needs no
    further product. With s = √((1 − β₂) / (1 − β₂ᵗ)), √v̂ is s·√V, and η·m̂ / (√v̂ + ε) becomes
    (η·(1 − β₁) / (1 − β₁ᵗ) / s)·M / (√V + ε / s).
    """
    scale = np.sqrt((1 - rule.beta2) / (1 - rule.beta2**step))
    rate = np.float32(rule.learning_rate * (1 - rule.beta1) / (1 - rule.beta1**step) / scale)
    epsilon = np.float32(rule.epsilon / scale)
    beta1, beta2 = np.float32(rule.beta1), np.float32(rule.beta2)
    for i in range(len(p)):
        m[i] = beta1 * m[i] + g[i]
        v[i] = beta2 * v[i] + g[i] * g[i]
        p[i] -= rate * m[i] / (np.sqrt(v[i]) + epsilon)


@compiled(parallel=True)
def feedforward(model: Model, state: State, split: Split, index: Integers, work: Workspace) -> None:
    """Compute the outputs of all layers for a batch."""
    chunks, n = len(state.partial), len(index)
    for c in numba.prange(chunks):
        low, high = n * c // chunks, n * (c + 1) // chunks
        feedforward_rows(model, state, split, index, work, low, high)


@compiled(parallel=True)
def backprop(model: Model, state: State, split: Split, index: Integers, work: Workspace) -> float:
    """Compute the gradients, one part for each chunk; return the loss."""
    chunks, n = len(state.partial), len(index)
    losses = np.zeros(chunks)
    for c in numba.prange(chunks):
        low, high = n * c // chunks, n * (c + 1) // chunks
        losses[c] = backprop_rows(model, state, split, index, work, low, high, state.partial[c])
    loss = losses.sum()
    if model.l2 > 0:
        loss += penalize(model, state.parameters, state.partial[0])
    return loss


@compiled(parallel=True)
def update(rule: Rule, state: State) -> None:
    """Make one step of the optimizer."""
    state.step[0] += 1
    chunks, p = len(state.partial), len(state.parameters)
    for c in numba.prange(chunks):
        update_part(rule, state, p * c // chunks, p * (c + 1) // chunks)


@compiled()
def train(
    model: Model,
    rule: Rule,
    state: State,
    split: Split,
    order: Integers,
    batch_size: int,
    work: Workspace,
) -> Array:
    """Train on the examples in the given order; return the loss of each step."""
    losses = np.empty((len(order) + batch_size - 1) // batch_size, np.float32)
    for s in range(len(losses)):
        index = order[s * batch_size : (s + 1) * batch_size]
        feedforward(model, state, split, index, work)
        losses[s] = backprop(model, state, split, index, work)
        update(rule, state)
    return losses
