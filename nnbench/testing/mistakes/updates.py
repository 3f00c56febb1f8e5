"""Mistakes in the optimizer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

import numpy as np

from nnbench.contract.spec import Optimizer
from nnbench.reference import Update
from nnbench.testing.mistakes.training import Training, added, assign, scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from nnbench.contract.spec import Layer
    from nnbench.reference import Array, Moments
    from nnbench.testing.mistakes.training import Layers


class Adam(Update):
    """Adam with the formula of its direction as a piece of its own; others stay as they are."""

    def direction(self, gradient: Array, moments: Moments) -> Array:
        """Return what the learning rate multiplies."""
        right = super().direction(gradient, moments)
        match self.optimizer.kind:
            case "sgd":
                return right
            case "adam" | "adam-fresh":
                return self.formula(*moments)
            case _:
                assert_never(self.optimizer.kind)

    def correction(self, beta: float) -> float:
        """Return what a moment is divided by."""
        return float(1 - beta**self.step)

    def formula(self, m: Array, v: Array) -> Array:
        """Return the direction, given the moments."""
        o = self.optimizer
        root: Array = np.sqrt(v / self.correction(o.beta2)) + o.epsilon
        return m / self.correction(o.beta1) / root


class Uncorrected(Adam):
    """Leaves the moments as they are."""

    def correction(self, beta: float) -> float:
        """Return what a moment is divided by."""
        del beta
        return 1.0


class SecondUncorrected(Adam):
    """Corrects the first moment alone."""

    def correction(self, beta: float) -> float:
        """Return what a moment is divided by."""
        return 1.0 if beta == self.optimizer.beta2 else super().correction(beta)


class FirstUncorrected(Adam):
    """Corrects the second moment alone."""

    def correction(self, beta: float) -> float:
        """Return what a moment is divided by."""
        return 1.0 if beta == self.optimizer.beta1 else super().correction(beta)


class CountsTwice(Adam):
    """Corrects with the count of the next step."""

    def correction(self, beta: float) -> float:
        """Return what a moment is divided by."""
        return float(1 - beta ** (self.step + 1))


class EpsilonInside(Adam):
    """Adds ε to v̂."""

    def formula(self, m: Array, v: Array) -> Array:
        """Return the direction, given the moments."""
        o = self.optimizer
        root: Array = np.sqrt(v / self.correction(o.beta2) + o.epsilon)
        return m / self.correction(o.beta1) / root


class EpsilonEarly(Adam):
    """Adds ε to √v, and corrects the sum."""

    def formula(self, m: Array, v: Array) -> Array:
        """Return the direction, given the moments."""
        o = self.optimizer
        root: Array = (np.sqrt(v) + o.epsilon) / np.sqrt(self.correction(o.beta2))
        return m / self.correction(o.beta1) / root


class Rootless(Adam):
    """Divides by v̂ itself."""

    def formula(self, m: Array, v: Array) -> Array:
        """Return the direction, given the moments."""
        o = self.optimizer
        return m / self.correction(o.beta1) / (v / self.correction(o.beta2) + o.epsilon)


class Still(Update):
    """Moves nothing."""

    def direction(self, gradient: Array, moments: Moments) -> Array:
        """Return what the learning rate multiplies."""
        del moments
        return np.zeros_like(gradient)


def reconfigured(
    change: Callable[[Optimizer], Optimizer],
) -> Callable[[Optimizer, list[Array]], Update]:
    """Give the optimizer other hyper-parameters."""
    return lambda optimizer, parameters: Update(change(optimizer), parameters)


def with_defaults(optimizer: Optimizer) -> Optimizer:
    """Ignore all hyper-parameters but the learning rate."""
    return Optimizer(kind=optimizer.kind, learning_rate=optimizer.learning_rate)


def with_betas_swapped(optimizer: Optimizer) -> Optimizer:
    """Take each beta for the other."""
    return replace(optimizer, beta1=optimizer.beta2, beta2=optimizer.beta1)


def with_other_adam(optimizer: Optimizer) -> Optimizer:
    """Take Adam for the one whose moments restart, and the other way round."""
    match optimizer.kind:
        case "sgd":
            return optimizer
        case "adam":
            return replace(optimizer, kind="adam-fresh")
        case "adam-fresh":
            return replace(optimizer, kind="adam")
        case _:
            assert_never(optimizer.kind)


def weights(layers: Layers) -> list[Array]:
    """List the weights, without the biases."""
    return [layer.weight for layer in layers]


def all_but_last(layers: Layers) -> list[Array]:
    """List the arrays of all layers but the last."""
    return [array for layer in layers[:-1] for array in layer if array is not None]


def previous(history: list[list[Layer]]) -> list[Layer]:
    """Take the gradients of the step before; the first step has its own."""
    return history[-2:][0]


def previous_or_none(history: list[list[Layer]]) -> list[Layer]:
    """Take the gradients of the step before; the first step has none."""
    return history[-2] if len(history) > 1 else scaled(history[-1], 0)


def accumulated(history: list[list[Layer]]) -> list[Layer]:
    """Add up the gradients of all steps."""
    total = history[0]
    for gradients in history[1:]:
        total = added(total, gradients)
    return total


def keep_state(layers: Layers, update: Update, initial: Layers) -> None:
    """Forget to clear the optimizer."""
    del update
    assign(layers, initial)


def keep_count(layers: Layers, update: Update, initial: Layers) -> None:
    """Clear the moments, but not the count of steps."""
    step = update.step
    assign(layers, initial)
    update.restart()
    update.step = step


def keep_moments(layers: Layers, update: Update, initial: Layers) -> None:
    """Restart the count of steps, but keep the moments."""
    assign(layers, initial)
    update.step = 0


def keep_parameters(layers: Layers, update: Update, initial: Layers) -> None:
    """Clear the optimizer, but not the parameters."""
    del layers, initial
    update.restart()


SURVIVAL = "Adam's moments survive load"
STALE = "stale gradients: the update uses those of the backprop before"

MISTAKES = [
    Training(hint="the parameters did not change: update does nothing", update=Still),
    Training(hint="biases did not change: update skips them", moved=weights),
    Training(hint="the last layer did not change: update skips it", moved=all_but_last),
    Training(hint="Adam's bias correction missing", update=Uncorrected),
    Training(hint="Adam's second moment not corrected for its bias", update=SecondUncorrected),
    Training(hint="Adam's first moment not corrected for its bias", update=FirstUncorrected),
    Training(hint="Adam counts its steps from 2, or twice each", update=CountsTwice),
    Training(hint="epsilon inside the root", update=EpsilonInside),
    Training(hint="epsilon added before the bias correction", update=EpsilonEarly),
    Training(hint="Adam's root missing", update=Rootless),
    Training(
        hint="the spec's beta1, beta2 and epsilon ignored", update=reconfigured(with_defaults)
    ),
    Training(hint="beta1 and beta2 swapped", update=reconfigured(with_betas_swapped)),
    Training(
        hint="adam and adam-fresh confused: only the moments of adam-fresh restart in every step",
        update=reconfigured(with_other_adam),
    ),
    Training(hint=STALE, kept=previous),
    Training(hint=STALE, kept=previous_or_none),
    Training(hint="gradients add up over the steps: they are not cleared", kept=accumulated),
    Training(hint=SURVIVAL, load=keep_state),
    Training(hint=SURVIVAL, load=keep_moments),
    Training(hint="Adam's count of steps survives load", load=keep_count),
    Training(hint="a second load does not set the parameters", load=keep_parameters),
]
