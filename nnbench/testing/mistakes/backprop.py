"""Mistakes in a step before its update: in activations, in the loss, in the gradients as a whole."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

import numpy as np

from nnbench import reference
from nnbench.contract.spec import Examples, Layer
from nnbench.testing.mistakes.training import Training, added, scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.contract.spec import NetworkSpec
    from nnbench.reference import Array
    from nnbench.testing.mistakes.training import Backprop, Layers, Result

    Slope = Callable[[NetworkSpec, list[Array], int], Array]


# The hidden activations, and their slopes


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


# The loss, and its derivative by the logits


def revalued(output: Callable[[NetworkSpec, Array, Examples], tuple[float, Array]]) -> Backprop:
    """Take another loss of the logits, and another derivative by them."""

    def backprop(spec: NetworkSpec, layers: Layers, batch: Examples) -> Result:
        values = reference.feedforward(spec, layers, batch.inputs)
        loss, delta = output(spec, values[-1], batch)
        gradients = descend(spec, layers, values, delta, own_slope)
        return loss + reference.penalty(spec, layers), gradients

    return backprop


def softmax_twice(spec: NetworkSpec, logits: Array, batch: Examples) -> tuple[float, Array]:
    """Apply softmax before a loss that does so itself; sigmoid likewise."""
    p = squash(spec, logits)
    loss, delta = reference.output_loss(spec, p, batch)
    if is_squared(spec):
        return loss, delta * p * (1 - p)
    return loss, p * (delta - (delta * p).sum(axis=1, keepdims=True))


def softmax_twice_half(spec: NetworkSpec, logits: Array, batch: Examples) -> tuple[float, Array]:
    """Apply softmax or sigmoid twice, with the derivative of one."""
    return reference.output_loss(spec, squash(spec, logits), batch)


def squash(spec: NetworkSpec, logits: Array) -> Array:
    """Return the sigmoid of the logits, or their softmax, as the loss has it."""
    return reference.sigmoid(logits) if is_squared(spec) else softmax(logits)


def softmax(logits: Array) -> Array:
    """Return exp z / Σ exp z of each row."""
    powers: Array = np.exp(logits - logits.max(axis=1, keepdims=True))
    total: Array = powers.sum(axis=1, keepdims=True)
    return powers / total


def no_sigmoid(spec: NetworkSpec, logits: Array, batch: Examples) -> tuple[float, Array]:
    """Compare the logits themselves with the targets."""
    if not is_squared(spec):
        return reference.output_loss(spec, logits, batch)
    error = logits - np.asarray(batch.targets)
    return float((error**2).mean()), 2 * error / error.size


def no_output_slope(spec: NetworkSpec, logits: Array, batch: Examples) -> tuple[float, Array]:
    """Forget the derivative of the output's sigmoid."""
    if not is_squared(spec):
        return reference.output_loss(spec, logits, batch)
    error = reference.sigmoid(logits) - np.asarray(batch.targets)
    return float((error**2).mean()), 2 * error / error.size


def reported(change: Callable[[NetworkSpec, int, float, float], float]) -> Backprop:
    """Report another loss, made of the network, N, the loss proper and its L2 term."""

    def backprop(spec: NetworkSpec, layers: Layers, batch: Examples) -> Result:
        loss, gradients = reference.backprop(spec, layers, batch)
        penalty = reference.penalty(spec, layers)
        return change(spec, len(batch.inputs), loss - penalty, penalty), gradients

    return backprop


def is_squared(spec: NetworkSpec) -> bool:
    """Return whether the loss is the squared error, and not the cross-entropy."""
    match spec.loss:
        case "squared_error":
            return True
        case "cross_entropy":
            return False
        case _:
            assert_never(spec.loss)


# The gradients as a whole: their size, their sign, their L2 part


def penalty_gradients(spec: NetworkSpec, layers: Layers) -> list[Layer]:
    """Return the L2 term's part of the gradients."""
    return [Layer(spec.l2 * w, None if b is None else np.zeros_like(b)) for w, b in layers]


def rescaled(factor: Callable[[NetworkSpec, int], float]) -> Backprop:
    """Multiply the gradients, but for their L2 part, by a factor of the network and N."""

    def backprop(spec: NetworkSpec, layers: Layers, batch: Examples) -> Result:
        loss, gradients = reference.backprop(spec, layers, batch)
        penalty = penalty_gradients(spec, layers)
        data = added(gradients, penalty, -1)
        return loss, added(penalty, data, factor(spec, len(batch.inputs)))

    return backprop


def repenalized(share: Callable[[int], float]) -> Backprop:
    """Add a share, of the batch size, of the L2 term's gradients once more."""

    def backprop(spec: NetworkSpec, layers: Layers, batch: Examples) -> Result:
        loss, gradients = reference.backprop(spec, layers, batch)
        return loss, added(gradients, penalty_gradients(spec, layers), share(len(batch.inputs)))

    return backprop


def penalized_biases(spec: NetworkSpec, layers: Layers, batch: Examples) -> Result:
    """Let L2 act on all parameters."""
    loss, gradients = reference.backprop(spec, layers, batch)
    extra = [Layer(w * 0, None if b is None else spec.l2 * b) for w, b in layers]
    return loss, added(gradients, extra)


def ascending(spec: NetworkSpec, layers: Layers, batch: Examples) -> Result:
    """Turn the gradients round."""
    loss, gradients = reference.backprop(spec, layers, batch)
    return loss, scaled(gradients, -1)


def half_updated(spec: NetworkSpec, layers: Layers, batch: Examples) -> Result:
    """Forget the gradients of the biases."""
    loss, gradients = reference.backprop(spec, layers, batch)
    return loss, [Layer(w, None if b is None else b * 0) for w, b in gradients]


def relabelled(shift: int) -> Backprop:
    """Take the labels, or the targets, of a neighbouring class."""

    def backprop(spec: NetworkSpec, layers: Layers, batch: Examples) -> Result:
        inputs, labels, targets = batch
        if labels is not None:
            labels = (labels + shift) % spec.sizes[-1]
        if targets is not None:
            targets = np.roll(targets, shift, axis=1)
        return reference.backprop(spec, layers, Examples(inputs, labels, targets))

    return backprop


def per_output(spec: NetworkSpec) -> float:
    """Return what a gradient grows by if the outputs are summed up, or shrinks by if averaged."""
    return spec.sizes[-1] if is_squared(spec) else 1 / spec.sizes[-1]


MISTAKES = [
    Training(hint=hint, backprop=backprop)
    for hint, backprop in (
        ("the gradient has the opposite sign, or the step goes uphill", ascending),
        ("mean over the batch missing in the gradient", rescaled(lambda _, n: n)),
        ("gradient divided by the batch size twice", rescaled(lambda _, n: 1 / n)),
        (
            "squared error summed over the outputs, or cross-entropy averaged over them",
            rescaled(lambda spec, _: per_output(spec)),
        ),
        (
            "squared error summed over batch and outputs",
            rescaled(lambda spec, n: n * spec.sizes[-1] if is_squared(spec) else 1),
        ),
        (
            "factor 2 of the squared error's derivative missing",
            rescaled(lambda spec, _: 0.5 if is_squared(spec) else 1),
        ),
        ("labels off by one", relabelled(1)),
        ("labels off by one", relabelled(-1)),
        ("L2 acts on biases", penalized_biases),
        ("L2 term missing in the gradient", repenalized(lambda _: -1)),
        ("L2 term's gradient twice: λ·w is the derivative of λ/2·w²", repenalized(lambda _: 1)),
        ("L2 term's gradient divided by the batch size", repenalized(lambda n: 1 / n - 1)),
        ("gradients of the biases are zero", half_updated),
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
        ("softmax (or the output's sigmoid) applied twice", revalued(softmax_twice)),
        ("softmax (or the output's sigmoid) applied twice", revalued(softmax_twice_half)),
        ("sigmoid of the output missing", revalued(no_sigmoid)),
        ("slope of the output's sigmoid missing in backprop", revalued(no_output_slope)),
        (
            "the loss is the sum over the batch, not its mean",
            reported(lambda _, n, l, p: n * l + p),
        ),
        (
            "the loss is summed over the outputs",
            reported(lambda spec, _, l, p: spec.sizes[-1] * l + p if is_squared(spec) else l + p),
        ),
        ("the loss is half the squared error", reported(lambda _, _n, l, p: l / 2 + p)),
        ("the loss is in bits, not in nats", reported(lambda _, _n, l, p: l / math.log(2) + p)),
        (
            "the loss, L2 term included, is multiplied by the batch size",
            reported(lambda _, n, l, p: n * (l + p)),
        ),
        ("L2 term missing in the loss", reported(lambda _, _n, l, _p: l)),
        ("L2 term of the loss without its half", reported(lambda _, _n, l, p: l + 2 * p)),
    )
]
