"""Mistakes in the hidden activations, and in their slopes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

import numpy as np

from nnbench import reference
from nnbench.contract.spec import Layer
from nnbench.testing.mistakes.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.contract.spec import Examples, NetworkSpec
    from nnbench.reference import Array
    from nnbench.testing.mistakes.training import Backprop, Layers, Result

    Slope = Callable[[NetworkSpec, list[Array], int], Array]


def other_activation(spec: NetworkSpec, layers: Layers, batch: Examples) -> Result:
    """Take the other activation."""
    match spec.activation:
        case "relu":
            return reference.backprop(replace(spec, activation="sigmoid"), layers, batch)
        case "sigmoid":
            return reference.backprop(replace(spec, activation="relu"), layers, batch)
        case _:
            assert_never(spec.activation)


def resloped(slope: Slope) -> Backprop:
    """Take another slope of the hidden activations: of the network, all values, and the depth."""

    def backprop(spec: NetworkSpec, layers: Layers, batch: Examples) -> Result:
        values = reference.feedforward(spec, layers, batch.inputs)
        loss, delta = reference.output_loss(spec, values[-1], batch)
        return loss + reference.penalty(spec, layers), descend(spec, layers, values, delta, slope)

    return backprop


def descend(
    spec: NetworkSpec, layers: Layers, values: list[Array], delta: Array, slope: Slope
) -> list[Layer]:
    """Carry the derivative by the logits down to all parameters."""
    gradients: list[Layer] = []
    for depth in reversed(range(len(layers))):
        weight, bias = layers[depth]
        below = None if bias is None else delta.sum(axis=0)
        gradients.insert(0, Layer(values[depth].T @ delta + spec.l2 * weight, below))
        delta = (delta @ weight.T) * slope(spec, values, depth)
    return gradients


def own_slope(spec: NetworkSpec, values: list[Array], depth: int) -> Array:
    """Return the right slope."""
    return reference.activation_slope(spec, values[depth])


def slope_of(offset: int) -> Slope:
    """Take the slope of another layer, where it has as many units."""

    def slope(spec: NetworkSpec, values: list[Array], depth: int) -> Array:
        other = min(depth + offset, len(values) - 1)
        if depth == 0 or other < 0 or values[other].shape != values[depth].shape:
            other = depth
        return reference.activation_slope(spec, values[other])

    return slope


def no_slope(spec: NetworkSpec, values: list[Array], depth: int) -> Array:
    """Leave the slope out."""
    del spec
    return np.ones_like(values[depth])


def slope_of_slope(spec: NetworkSpec, values: list[Array], depth: int) -> Array:
    """Take the slope at the activation's output, as if that were its input."""
    return reference.activation_slope(spec, reference.activate(spec, values[depth]))


MISTAKES = [
    Training(hint=hint, backprop=backprop)
    for hint, backprop in (
        ("slope of the activation taken from the output of the wrong layer", resloped(slope_of(1))),
        (
            "slope of the activation taken from the output of the wrong layer",
            resloped(slope_of(-1)),
        ),
        ("slope of the hidden activation missing in backprop", resloped(no_slope)),
        (
            "slope of the sigmoid taken at its output; given its value a, it is a·(1 − a)",
            resloped(slope_of_slope),
        ),
        ("the other activation in the hidden layers", other_activation),
    )
]
