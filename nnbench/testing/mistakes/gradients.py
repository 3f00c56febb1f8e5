"""Mistakes in the gradients as a whole: their size, their sign, their L2 part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nnbench import reference
from nnbench.contract.spec import Examples, Layer
from nnbench.testing.mistakes.losses import is_squared
from nnbench.testing.mistakes.training import Training, added, scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.contract.spec import NetworkSpec
    from nnbench.testing.mistakes.training import Backprop, Layers, Result


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
    )
]
