"""The optimizers, over flat arrays and in place."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from nnbench import Optimizer

    Array = NDArray[np.float32]


def make_optimizer(spec: Optimizer, parameters: Array, gradients: Array) -> Callable[[], None]:
    """Return a function that makes one step."""
    kinds = {"sgd": GradientDescent, "adam": Adam, "adam-fresh": FreshAdam}
    return kinds[spec.kind](spec, parameters, gradients)


class GradientDescent:
    """θ ← θ − η·g."""

    def __init__(self, spec: Optimizer, parameters: Array, gradients: Array) -> None:
        self.spec = spec
        self.parameters, self.gradients = parameters, gradients
        self.scratch = np.empty_like(parameters)

    def __call__(self) -> None:
        """Make one step."""
        np.multiply(self.gradients, self.spec.learning_rate, out=self.scratch)
        np.subtract(self.parameters, self.scratch, out=self.parameters)


class FreshAdam(GradientDescent):
    """Adam's first step, again and again: θ ← θ − η·g / (|g| + ε)."""

    def __call__(self) -> None:
        """Make one step."""
        scratch = self.scratch
        np.abs(self.gradients, out=scratch)
        np.add(scratch, self.spec.epsilon, out=scratch)
        np.divide(self.gradients, scratch, out=scratch)
        np.multiply(scratch, self.spec.learning_rate, out=scratch)
        np.subtract(self.parameters, scratch, out=self.parameters)


class Adam(GradientDescent):
    """Kingma and Ba (2015), with scaled moments.

    The arrays hold M = m / (1 − β₁) and V = v / (1 − β₂), so that decaying them and adding g and
    g² needs no further product. With s = √((1 − β₂) / (1 − β₂ᵗ)), √v̂ is s·√V, and the step
    η·m̂ / (√v̂ + ε) becomes (η·(1 − β₁) / (1 − β₁ᵗ) / s)·M / (√V + ε / s).
    """

    def __init__(self, spec: Optimizer, parameters: Array, gradients: Array) -> None:
        super().__init__(spec, parameters, gradients)
        self.first, self.second = np.zeros_like(parameters), np.zeros_like(parameters)
        self.step = 0

    def __call__(self) -> None:
        """Make one step."""
        spec, scratch = self.spec, self.scratch
        self.step += 1
        np.multiply(self.first, spec.beta1, out=self.first)
        np.add(self.first, self.gradients, out=self.first)
        np.multiply(self.gradients, self.gradients, out=scratch)
        np.multiply(self.second, spec.beta2, out=self.second)
        np.add(self.second, scratch, out=self.second)

        scale = sqrt((1 - spec.beta2) / (1 - spec.beta2**self.step))
        rate = spec.learning_rate * (1 - spec.beta1) / (1 - spec.beta1**self.step) / scale
        np.sqrt(self.second, out=scratch)
        np.add(scratch, spec.epsilon / scale, out=scratch)
        np.divide(self.first, scratch, out=scratch)
        np.multiply(scratch, rate, out=scratch)
        np.subtract(self.parameters, scratch, out=self.parameters)
