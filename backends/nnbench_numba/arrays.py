"""The arrays of a network and its data, flat, and the views of them.

N is the batch size. Shapes are values here, never types, so that another network compiles nothing
new.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from nnbench_numba.compilation import compiled

if TYPE_CHECKING:
    import numpy as np
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
