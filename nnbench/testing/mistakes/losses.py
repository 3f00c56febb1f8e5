"""Mistakes in the loss, and in its derivative by the logits."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, assert_never

import numpy as np

from nnbench import reference
from nnbench.testing.mistakes.activations import descend, own_slope
from nnbench.testing.mistakes.training import Training

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.contract.spec import Examples, NetworkSpec
    from nnbench.reference import Array
    from nnbench.testing.mistakes.training import Backprop, Layers, Result


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


MISTAKES = [
    Training(hint=hint, backprop=backprop)
    for hint, backprop in (
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
